"""The page on the library from Python: what packages export, and what each module is for.

The site has a page more for each package that exports: every export with its docstring, by mkdocstrings.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from documents.tables import cell, generated, table

_INTRO = """\
What a package or module exports (`__all__`) is for you to call, and stays; what is not exported may change. The
exports come first, then every module of the library with what it is for."""


def page(root: Path) -> str:
    """Return ``docs/reference/python.md``."""
    parts = [generated("The library from Python", _INTRO)]
    parts.extend(f"## {dotted}\n\n{_exports(root, path, dotted)}" for path, dotted in exporting(root))
    parts.append("## All modules\n")
    for package in sorted((root / "fedrec").glob("**/__init__.py")):
        parts.append(_modules(root, package.parent))
    return "\n".join(parts)


def exporting(root: Path) -> list[tuple[Path, str]]:
    """Return file and dotted name of what exports, ``fedrec.notebook`` first: most people need no more."""
    found = []
    for path in sorted((root / "fedrec").glob("*/**/*.py")):
        if any(_assigns_all(node) for node in ast.parse(path.read_text(encoding="utf-8")).body):
            found.append((path, _dotted(root, path)))
    return sorted(found, key=lambda pair: (pair[1] != "fedrec.notebook", pair[1]))


def _assigns_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
    )


def _dotted(root: Path, path: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _exports(root: Path, path: Path, dotted: str) -> str:
    module = importlib.import_module(dotted)
    rows = [(f"`{name}`", _kind(getattr(module, name)), _first(getattr(module, name))) for name in module.__all__]
    link = f"[`{path.relative_to(root)}`](../../{path.relative_to(root)})"
    return f"{_summary(path)} {link}\n\n{table(('name', 'is', 'does'), rows)}"


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "class"
    return "function" if callable(value) and not _is_alias(value) else "value"


def _is_alias(value: Any) -> bool:
    return type(value).__module__ == "typing"


def _first(value: Any) -> str:
    """Return the first sentence of what a class or function says of itself; a value says nothing."""
    said = inspect.getdoc(value) if _kind(value) != "value" else ""
    return cell((said or "").split("\n\n")[0])


def _modules(root: Path, package: Path) -> str:
    name = ".".join(package.relative_to(root).parts)
    rows = [(_linked(root, path), _summary(path)) for path in _beside(package)]
    return f"### {name}\n\n{_summary(package / '__init__.py')}\n\n" + (
        table(("module", "is for"), rows) if rows else ""
    )


def _beside(package: Path) -> Iterator[Path]:
    return (path for path in sorted(package.glob("*.py")) if path.name != "__init__.py")


def _linked(root: Path, path: Path) -> str:
    return f"[`{path.stem}`](../../{path.relative_to(root)})"


def _summary(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return cell(said.split("\n\n")[0])
