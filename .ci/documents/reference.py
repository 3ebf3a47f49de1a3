"""``make reference``: write the generated pages, and set links into code to the lines that they name.

    python -m documents.reference

A test calls the same functions and says which page is stale.
"""

import sys
import tempfile
from pathlib import Path

from documents import command_line, device_protocol, file_formats, python_api, scenario_keys
from documents.code_lines import kept_on_its_line
from documents.page_parts import with_targets

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = "docs/reference"


def pages(root: Path) -> dict[str, str]:
    """Return the generated pages by their paths in the repository."""
    with tempfile.TemporaryDirectory() as folder:
        protocol = device_protocol.page(root, Path(folder))
    return {
        f"{FOLDER}/cli.md": command_line.page(),
        f"{FOLDER}/scenario.md": scenario_keys.page(),
        f"{FOLDER}/file-formats.md": file_formats.page(),
        f"{FOLDER}/device-proto.md": protocol,
        f"{FOLDER}/python.md": python_api.page(root),
    }


def written_by_hand(root: Path) -> list[Path]:
    """Return the pages that people write."""
    found = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    return sorted(path for path in found if not path.is_relative_to(root / FOLDER))


def on_their_lines(page: Path) -> str:
    """Return a page's text with its links into code on the lines that define what they name."""
    text = page.read_text(encoding="utf-8")
    return with_targets(text, lambda link: kept_on_its_line(link, page.parent / link.path))


def stale(root: Path) -> dict[Path, str]:
    """Return the pages that are not as they would be written now, with what would be."""
    made = {root / path: text for path, text in pages(root).items()}
    made |= {page: on_their_lines(page) for page in written_by_hand(root)}
    return {page: text for page, text in made.items() if not page.exists() or page.read_text("utf-8") != text}


def main() -> None:
    """Write what is stale, and say so."""
    for page, text in stale(ROOT).items():
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
