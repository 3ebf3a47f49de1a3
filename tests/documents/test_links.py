"""What the documents point to is there."""

from pathlib import Path

import pytest
from documents.code_lines import LINES
from documents.page_parts import Link, anchors, links

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def broken(page: Path, link: Link) -> str | None:
    """Return what is wrong with a link; None if it leads somewhere."""
    target = page.parent / link.path if link.path else page
    if link.leaves:
        return None
    if not target.exists():
        return "no such file"
    lines = LINES.fullmatch(link.anchor)
    if lines and target.is_file():
        length = target.read_text("utf-8").count("\n")
        return None if all(int(number) <= length for number in lines.groups() if number) else f"it has {length} lines"
    if not link.anchor or target.suffix == ".ipynb":
        return None
    return None if link.anchor in anchors(target.read_text("utf-8")) else "no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_to_a_file_a_heading_or_a_line_that_is_there(page):
    found = [(link.line, link.target, broken(page, link)) for link in links(page.read_text("utf-8"))]
    assert [wrong for wrong in found if wrong[2]] == []


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("page.md#a-head", None),
        ("#a-head", None),
        ("page.md#L1-L2", None),
        ("https://example.org/none", None),
        ("none.md", "no such file"),
        ("page.md#another", "no such heading"),
        ("page.md#L3", "it has 2 lines"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(target, wrong, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A head\n\n")
    assert broken(page, Link(line=1, text="there", target=target)) == wrong
