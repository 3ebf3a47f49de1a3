"""What MkDocs is told beside ``mkdocs.yml``: pages of code, notebooks, the navigation's stars, no request to others."""

import posixpath
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from documents.notebooks import as_markdown
from documents.page_parts import with_targets
from documents.published import Published
from documents.source_page import folder_page, highlighted, source_page

ROOT = Path(__file__).resolve().parent.parent.parent

_REQUESTS = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^\s\">]+[^>]*>")

_SECOND_TO_OTHERS = ("docs/decisions.md", "docs/reference/python.md")
"""Pages that speak of everything, which a search should find after those that are about it."""

published = Published(ROOT)
paths = {place: path for path, place in published.pages.items()}
"""Path in the repository by place on the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put in the pages that are no Markdown of ``docs/``, and fill the navigation's stars."""
    for path, place in published.pages.items():
        if path.endswith(".ipynb"):
            _add_notebook(path, place, files, config)
        elif not path.startswith("docs/"):
            in_nav = path in published.api
            inclusion = InclusionLevel.UNDEFINED if in_nav else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, place, content=_content(path), inclusion=inclusion))
    if config.nav is not None:
        config.nav = _filled(config.nav, sorted(file.src_uri for file in files.documentation_pages()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that a forge follows into those of the site."""
    path = paths.get(page.file.src_uri)
    if page.is_homepage:
        page.meta["hide"] = ["navigation", "toc"]  # not in the page: a forge would show it as a table
    if path in _SECOND_TO_OTHERS or path in published.api:
        page.meta["search"] = {"boost": 0.2}
    return with_targets(markdown, lambda link: published.target(path, link)) if path else markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the lines of a file of code on its page: as Markdown they would take as long as all other pages together."""
    path = paths.get(page.file.src_uri, "")
    if not page.file.src_uri.startswith("source/") or (ROOT / path).is_dir():
        return html
    text = (ROOT / path).read_text(encoding="utf-8")
    page.present_anchor_ids = (page.present_anchor_ids or set()) | {
        f"L{number}" for number in range(1, len(text.splitlines()) + 1)
    }
    return html + highlighted(path, text)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that would ask another machine for something: readers are nobody else's business."""
    asked = _REQUESTS.search(output)
    if asked and 'rel="canonical"' not in asked[0]:
        raise Abort(f"{page.file.src_uri} asks another machine: {asked[0]}")
    return output


def _add_notebook(path: str, place: str, files: Files, config: MkDocsConfig) -> None:
    text, pictures = as_markdown(ROOT / path)
    files.remove(next(file for file in files if file.src_uri == path.removeprefix("docs/")))
    files.append(File.generated(config, place, content=text))
    for name, picture in pictures.items():
        files.append(File.generated(config, posixpath.join(posixpath.dirname(place), name), content=picture))


def _content(path: str) -> str:
    file = ROOT / path
    if path in published.api:
        dotted = published.api[path]
        return f"# {dotted}\n\n::: {dotted}\n"
    if file.is_dir():
        return folder_page(path, published.inside(path))
    return file.read_text(encoding="utf-8") if path.endswith(".md") else source_page(path)


def _filled(nav: Any, pages: list[str]) -> Any:
    """Return the navigation with the pages in place of each pattern, those that are named elsewhere left out."""
    named = set(_named(nav))
    taken: set[str] = set()

    def fill(entry: Any) -> list[Any]:
        if isinstance(entry, dict):
            ((title, inner),) = entry.items()
            if isinstance(inner, str):
                return [entry]
            below = [filled for item in inner for filled in fill(item)]
            return [{title: below}] if below else []
        if "*" not in entry:
            return [entry]
        found = [page for page in pages if fnmatch(page, entry) and page not in named | taken]
        taken.update(found)
        return list(found)

    return [filled for entry in nav for filled in fill(entry)]


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [name for item in inner for name in _named(item)]
