"""Links into code: ``path.py#L40`` whose text is the name of what stands there, kept on its line.

A page on a forge can point to a line, not to a name. So a link whose text is a name in code, as in
```[`Server.step`](../x.py#L40)```, is held to the line that defines the name: a test sees that it is, and
``make reference`` sets it right.
"""

import ast
import re
from pathlib import Path

from documents.page_parts import Link

LINES = re.compile(r"L(\d+)(?:-L(\d+))?")
_NAME = re.compile(r"`([A-Za-z_][\w.]*)(?:\(\))?`")


def named(link: Link) -> str | None:
    """Return the name in code that a link to Python's lines is about; None if it is about none."""
    match = _NAME.fullmatch(link.text)
    return match[1] if match and link.path.endswith(".py") and LINES.fullmatch(link.anchor) else None


def kept_on_its_line(link: Link, file: Path) -> str:
    """Return the link's target with the lines that define its name now; raise ``ValueError`` if ``file`` has none.

    Where several lines define the name, that which the link has is as good as another.
    """
    name = named(link)
    if name is None:
        return link.target
    places = definitions(file.read_text(encoding="utf-8")).get(name, [])
    if not places:
        raise ValueError(f"{file} does not define {name}: name what it defines, or leave the back-ticks out")
    asked = LINES.fullmatch(link.anchor)
    assert asked is not None
    first, last = next((place for place in places if place[0] == int(asked[1])), places[0])
    return f"{link.path}#L{first}-L{last}" if asked[2] else f"{link.path}#L{first}"


def definitions(code: str) -> dict[str, list[tuple[int, int]]]:
    """Return first and last line of what defines each name: ``step``, and ``Server.step`` for the same."""
    found: dict[str, list[tuple[int, int]]] = {}
    _collect(ast.parse(code), "", found)
    return found


def _collect(node: ast.AST, outer: str, found: dict[str, list[tuple[int, int]]]) -> None:
    for child in ast.iter_child_nodes(node):
        inner = outer
        for name in _names(child):
            inner = f"{outer}.{name}" if outer else name
            for known in dict.fromkeys((name, inner)):
                found.setdefault(known, []).append((child.lineno, child.end_lineno or child.lineno))
        _collect(child, inner, found)


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []
