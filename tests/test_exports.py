"""What packages export: named, sorted, there; and one module one import name."""

import ast
import importlib
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ("clients", "fedrec", "server", "simulations")
PACKAGES = sorted(path.parent for name in HOUSE for path in (ROOT / name).rglob("__init__.py"))
MODULES = sorted(path for name in HOUSE for path in (ROOT / name).rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", PACKAGES, ids=dotted)
def test_what_a_package_brings_in_it_exports_sorted_and_it_is_there(package):
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    imported = [
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    module = importlib.import_module(dotted(package))
    exported = list(getattr(module, "__all__", []))

    assert set(imported) <= set(exported)
    assert exported == sorted(set(exported))
    assert [name for name in exported if not hasattr(module, name)] == []


def test_every_module_says_what_it_is_for():
    told = {dotted(path): ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in MODULES}
    assert len(told) > 500
    assert [name for name, docstring in told.items() if len((docstring or "").split()) < 3] == []


def test_no_file_of_the_product_is_called_a_drawer():
    drawers = {"base", "common", "helpers", "misc", "types", "util", "utils"}
    assert [str(path.relative_to(ROOT)) for path in MODULES if path.stem in drawers] == []


def test_the_top_level_is_the_house_and_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("not a git checkout: there is no list of what belongs to it")
    top = {name.split("/")[0] for name in listed}
    papers = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md", "README.zh.md"}
    fixed = {"Makefile", "constraints.txt", "docs", "pyproject.toml", "tests", *papers, *HOUSE}
    assert {name for name in top if not name.startswith(".")} == fixed
