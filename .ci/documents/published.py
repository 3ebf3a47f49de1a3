"""What of the repository the site publishes, and where: a page's links as a forge follows them, and as the site does.

On a forge a page's links are paths in the repository. The site has the pages of ``docs/``, and beside them, as far as
pages link to them, files of code with an anchor a line, the Markdown of the top level, lists of folders, and for what
exports to Python a page of its exports.
"""

import posixpath
from pathlib import Path

from documents import python_api
from documents.page_parts import Link, links

DOCS = "docs/"


class Published:
    """The pages of one repository, by their paths in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.api = {path.relative_to(root).as_posix(): dotted for path, dotted in python_api.exporting(root)}
        self.pages = self._pages()
        """Where the site has each page or file, by its path in the repository."""

    def target(self, page: str, link: Link) -> str:
        """Return where a link of the page of path ``page`` leads on the site, as Markdown of that site writes it."""
        if link.leaves or not link.path:
            return link.target
        linked = resolved(page, link.path)
        if linked not in self.pages:
            return link.target
        anchor = "" if linked in self.api else link.anchor.split("-L")[0]
        path = posixpath.relpath(self.pages[linked], posixpath.dirname(self.pages[page]))
        return f"{path}#{anchor}" if anchor else path

    def _pages(self) -> dict[str, str]:
        found = {path: path.removeprefix(DOCS) for path in self._documents()}
        found |= {path: f"reference/python/{dotted}.md" for path, dotted in self.api.items()}
        waiting = [path for path in found if path.endswith((".md", ".ipynb"))]
        while waiting:
            page = waiting.pop()
            for linked in self._linked(page):
                if linked not in found:
                    found[linked] = self._place(linked)
                    waiting.append(linked)
        return {
            path: posixpath.splitext(place)[0] + ".md" if place.endswith(".ipynb") else place
            for path, place in found.items()
        }

    def _documents(self) -> list[str]:
        files = (path for path in sorted((self.root / "docs").rglob("*")) if path.is_file())
        return [path.relative_to(self.root).as_posix() for path in files]

    def _linked(self, page: str) -> list[str]:
        """Return the paths in the repository that a page leads to; a folder's page leads to what is in it."""
        path = self.root / page
        if path.is_dir():
            return [f"{page}/{name}" for name in self.inside(page)]
        if path.suffix not in (".md", ".ipynb"):
            return []
        paths = [resolved(page, link.path) for link in links(read_page(path)) if not link.leaves and link.path]
        return [linked for linked in paths if (self.root / linked).exists()]

    def inside(self, folder: str) -> list[str]:
        """Return the names of the files of a folder."""
        names = sorted(path.name for path in (self.root / folder).iterdir() if path.is_file())
        return [name for name in names if not name.startswith(".")]

    def _place(self, path: str) -> str:
        if (self.root / path).is_dir():
            return f"source/{path}/index.md"
        return f"project/{path}" if path.endswith(".md") else f"source/{path}.md"


def resolved(page: str, path: str) -> str:
    """Return the path in the repository that ``path`` means on the page of path ``page``."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def read_page(path: Path) -> str:
    """Return a page's Markdown; of a notebook, that of its cells and of what they put out."""
    if path.suffix == ".ipynb":
        from documents.notebooks import as_markdown  # needs nbconvert, which tests of links do without

        return as_markdown(path)[0]
    return path.read_text(encoding="utf-8")
