"""Pieces of HTML from values, every text escaped on its way in."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape


def element(tag: str, *children: str, **attributes: str) -> str:
    """Return an element around ready HTML. ``class_`` gives ``class``, ``aria_label`` ``aria-label``, escaped."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value}
    given = "".join(f' {name}="{escape(value)}"' for name, value in named.items())
    return f"<{tag}{given}>{''.join(children)}</{tag}>"


def text(tag: str, content: str, **attributes: str) -> str:
    """Return an element around escaped text."""
    return element(tag, escape(content), **attributes)


def with_detail(main: str, detail: str) -> str:
    """Return escaped ``main``, with ``detail`` small below it where there is one."""
    return escape(main) + (text("small", detail) if detail else "")


def table(
    columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], own: str = "", class_: str = "scroll"
) -> str:
    """Return a table: rows of a label and ready cells; the row labelled ``own`` stands out."""
    head = element("tr", *(text("th", column, scope="col") for column in columns))
    body = [
        element(
            "tr",
            text("th", label, scope="row"),
            *(element("td", cell) for cell in cells),
            class_="own" if label == own else "",
        )
        for label, cells in rows
    ]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_=class_)


def figure(drawing: str, caption: str) -> str:
    """Return a ready drawing with its caption, or nothing where there is no drawing."""
    if not drawing:
        return ""
    return element("figure", drawing, text("figcaption", caption), role="img", aria_label=caption)


def facts(entries: Mapping[str, str | Sequence[str]]) -> str:
    """Return a definition list of texts, or of lists of texts."""
    parts = []
    for name, value in entries.items():
        content = escape(value) if isinstance(value, str) else element("ul", *(text("li", item) for item in value))
        parts += [text("dt", name), element("dd", content)]
    return element("dl", *parts, class_="facts")
