"""Notebooks as pages: what is stored in them, nothing run."""

from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter


def as_markdown(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook's Markdown, and its pictures by file name."""
    exporter = MarkdownExporter()
    text, resources = exporter.from_notebook_node(
        nbformat.read(path, as_version=4), {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    )
    return text, resources["outputs"]
