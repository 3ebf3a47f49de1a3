"""What keeps the house in order: no circle of imports, no module too long, nothing that nobody uses, nothing twice."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("house")  # each module is read and parsed once
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("clients", "fedrec", "server", "simulations")
GENERATED = {"clients/service/device_pb2.py", "clients/service/device_pb2_grpc.py"}
"""Written by ``make proto``."""

LONGEST_MODULE = 500
LONGEST_FUNCTION = 60
TWICE = 10
"""Lines from which on code that stands in two modules is a twin."""

OPEN = ("fedrec.notebook", "fedrec.faults", "simulations.audits.examples.")
"""Modules that are for others: a notebook, a test that plays faults, a command line (``docs/audit.md``)."""
FOR_OTHERS = {
    "Watch": "gRPC, of a health service",
    "add_noise": "Opacus, of an optimizer",
    "after_central_iteration": "pfl-research, of a callback",
    "aggregate_evaluate": "Flower, of a strategy",
    "collect": "Prometheus, of a collector",
    "configure_evaluate": "Flower, of a strategy",
    "format_completion": "click, of a shell's completion",
    "get_completion_args": "click, of a shell's completion",
    "get_completions": "click, of a shell's completion",
    "intercept_service": "gRPC, of an interceptor",
    "make_context": "click, of a command",
    "resolve_command": "click, of a group",
    "train_one_user": "pfl-research, of a model",
}
"""Methods that a foreign library calls, and which."""

TARGET = re.compile(r"[\w.]*:?\w+")
"""``module:name``, or a name alone."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = {
    dotted(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if str(path.relative_to(ROOT)) not in GENERATED
}


@cache
def text_of(module: str) -> str:
    return PATHS[module].read_text(encoding="utf-8")


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(text_of(module))


@cache
def parts_of(module: str) -> list[ast.AST]:
    return list(ast.walk(tree_of(module)))


# --- imports ------------------------------------------------------------------------------------------------------
@cache
def imports(module: str) -> frozenset[tuple[str, str | None]]:
    """Return what a module brings in: (module, name), where name is None for a module as a whole."""
    found: set[tuple[str, str | None]] = set()
    for node in parts_of(module):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add((inner, None) if inner in PATHS else (node.module, alias.name))
    return frozenset(found)


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_found():
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_no_modules_import_each_other_in_a_circle():
    assert circle({module: {name for name, _ in imports(module)} & PATHS.keys() for module in PATHS}) == []


# --- sizes --------------------------------------------------------------------------------------------------------
def test_no_module_is_too_long():
    paths = [*PATHS.values(), *(ROOT / "tests").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in paths}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_no_function_is_too_long():
    lengths = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module in PATHS
        for node in parts_of(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


# --- twins --------------------------------------------------------------------------------------------------------
def code_lines(text: str) -> list[str]:
    """Return the lines that say something, without their indent: no comments, imports or lone brackets."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if re.search(r"\w", line) and not line.startswith(("#", "import ", "from "))]


def twins(texts: dict[str, str]) -> set[tuple[str, ...]]:
    """Return the groups of modules in which the same ``TWICE`` lines follow each other."""
    places: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for module, text in texts.items():
        lines = code_lines(text)
        for start in range(len(lines) - TWICE + 1):
            places[tuple(lines[start : start + TWICE])].add(module)
    return {tuple(sorted(modules)) for modules in places.values() if len(modules) > 1}


def test_twins_are_found_whatever_stands_between_their_lines():
    lines = [f"x{number} = {number}" for number in range(TWICE)]
    spread = "\n\n# why\n    ".join(lines)
    assert twins({"a": "\n".join(lines), "b": spread, "c": "\n".join(lines[1:])}) == {("a", "b")}


def test_no_block_of_code_stands_in_two_modules():
    assert twins({module: text_of(module) for module in PATHS}) == set()


# --- names that nobody uses ---------------------------------------------------------------------------------------
def uses(parts: Iterable[ast.AST]) -> Counter[str]:
    """Count the names that code says: bare, behind a dot (``.name``), or after the colon of a target in a string."""
    said: Counter[str] = Counter()
    for part in parts:
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            said[part.id] += 1
        elif isinstance(part, ast.Attribute):
            said[f".{part.attr}"] += 1
        elif (
            isinstance(part, ast.Constant) and isinstance(part.value, str) and re.fullmatch(r"[\w.]*:?\w+", part.value)
        ):
            said[f".{part.value.split(':')[-1]}"] += 1
    return said


def is_handed_over(node: ast.stmt) -> bool:
    """Return whether a decorator such as ``@app.command()`` gives a function to somebody who calls it."""
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) for one in decorators)


def public(module: str) -> Iterator[tuple[str, ast.stmt, bool]]:
    """Yield the public names of a module and the methods of its public classes: name, where, whether it is a method."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = [(target.id, node, False) for target in targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ClassDef):
            methods = [(one.name, one, True) for one in node.body if isinstance(one, Definition)]
            found = [(node.name, node, False), *(methods if not node.name.startswith("_") else [])]
        else:
            found = [(node.name, node, False)] if isinstance(node, Definition) else []
        yield from (one for one in found if not one[0].startswith("_") and not is_handed_over(one[1]))


def brought_in() -> set[tuple[str, str | None]]:
    """Return what modules bring in from others; what a package only hands on counts where somebody takes it."""
    faces = {module for module, path in PATHS.items() if path.name == "__init__.py"}
    taken = {one for module in PATHS.keys() - faces for one in imports(module)}
    return taken | {one for face in faces for one in imports(face) if (face, one[1]) in taken}


def test_no_public_name_is_without_a_user():
    own = {module: uses(parts_of(module)) for module in PATHS}
    everywhere: Counter[str] = Counter()
    for said in own.values():
        everywhere.update(said)
    taken, unused = brought_in(), []
    for module in PATHS:
        if module.startswith(OPEN):
            continue
        for name, node, is_method in public(module):
            inside = uses(ast.walk(node)) if isinstance(node, Definition) else Counter()
            by_dot = everywhere[f".{name}"] > inside[f".{name}"] or name in FOR_OTHERS
            by_name = not is_method and (own[module][name] > inside[name] or (module, name) in taken)
            if not by_dot and not by_name:
                unused.append(f"{module}:{node.lineno} {name}")
    assert unused == []


def test_what_is_said_to_be_called_from_outside_stands_in_the_house():
    methods = {name for module in PATHS for name, _, is_method in public(module) if is_method}
    assert set(FOR_OTHERS) <= methods
