"""What generated pages are written with: a title that says where they come from, tables, cells."""

from collections.abc import Iterable, Sequence

_NOTICE = "<!-- Written by `make reference`: change what it is read from, not this page. -->"


def generated(title: str, introduction: str) -> str:
    """Return the beginning of a page that is generated."""
    return f"# {title}\n\n{_NOTICE}\n\n{introduction}\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; columns that are empty throughout are left out."""
    kept = list(rows)
    used = [i for i in range(len(heads)) if i == 0 or any(row[i] for row in kept)]
    lines = [[heads[i] for i in used], ["---"] * len(used), *([row[i] for i in used] for row in kept)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(text: str) -> str:
    """Return text, of several lines too, as the content of a cell: reStructuredText's double back-ticks as single."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")
