from fedrec.runs.html import element, facts, table, text, with_detail

EVIL = """<img src=x onerror="alert('&')">"""
ESCAPED = "&lt;img src=x onerror=&quot;alert(&#x27;&amp;&#x27;)&quot;&gt;"


def test_texts_and_attributes_are_escaped():
    assert text("p", EVIL, class_=EVIL) == f'<p class="{ESCAPED}">{ESCAPED}</p>'
    assert with_detail(EVIL, EVIL) == f"{ESCAPED}<small>{ESCAPED}</small>"
    assert facts({EVIL: EVIL, "list": [EVIL]}).count(ESCAPED) == 3


def test_labels_and_columns_of_a_table_are_escaped():
    assert table([EVIL], [(EVIL, ["1"])]).count(ESCAPED) == 2


def test_attributes_are_named_as_html_names_them_and_empty_ones_left_out():
    assert element("figure", role="img", aria_label="a", class_="") == '<figure role="img" aria-label="a"></figure>'


def test_the_own_row_stands_out():
    assert table(["", "x"], [("a", ["1"]), ("b", ["2"])], own="b").count('<tr class="own">') == 1
