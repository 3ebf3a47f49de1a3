"""Links, anchors and fenced blocks are found where a forge finds them, and nowhere else."""

import pytest
from documents.page_parts import Link, anchors, blocks, links, with_targets

PAGE = """\
# A page: its *first* head
See [one](a.md#x), ![two](b.png) and [`three`](../c.py#L4); `[no](code.md)` and ``[no](`code`.md)``.

```python
# no head, and [no](link.md)
x = 1
```

## `summary.json`, schema version 1
## Twice
## Twice
  ~~~ toml
  [no](t.md)
  ~~~
[last](https://example.org/#y)
"""


def test_links_are_those_outside_code():
    assert [(link.line, link.text, link.target) for link in links(PAGE)] == [
        (2, "one", "a.md#x"),
        (2, "two", "b.png"),
        (2, "`three`", "../c.py#L4"),
        (15, "last", "https://example.org/#y"),
    ]
    assert [link.leaves for link in links(PAGE)] == [False, False, False, True]
    assert (links(PAGE)[0].path, links(PAGE)[0].anchor) == ("a.md", "x")


def test_targets_are_changed_and_nothing_else():
    changed = with_targets(PAGE, lambda link: "new" if link.path == "a.md" else link.target)
    assert changed == PAGE.replace("a.md#x", "new")


def test_headings_have_the_anchors_that_a_forge_gives_them():
    assert anchors(PAGE) == {"a-page-its-first-head", "summaryjson-schema-version-1", "twice", "twice-1"}


def test_blocks_have_their_language_their_text_and_their_first_line():
    assert [(block.line, block.language, block.text) for block in blocks(PAGE)] == [
        (5, "python", "# no head, and [no](link.md)\nx = 1"),
        (13, "toml", "[no](t.md)"),
    ]


def test_a_fence_that_is_not_closed_is_refused():
    with pytest.raises(ValueError, match="line 2 is not closed"):
        blocks("text\n```python\nx = 1\n")


def test_a_link_within_a_page_has_no_path():
    assert Link(line=1, text="here", target="#below").path == ""
