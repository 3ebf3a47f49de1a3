"""What the documents tell people to type exists."""

import ast
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from documents.page_parts import Block, blocks

from fedrec.cli.main import COMMANDS
from fedrec.config import Scenario, parse_scenario
from fedrec.config.reading import WITH_PRIVACY

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BY_HAND = [page for page in PAGES if not page.is_relative_to(ROOT / "docs" / "reference")]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in BY_HAND)
LINES_OF_SHELL = [part for line in TEXT.splitlines() for part in line.removeprefix("$ ").split(" | ")]
COMMAND_LINES = [line.split(" #")[0].strip() for line in LINES_OF_SHELL if line.startswith("fedrec ")]
SPANS = re.findall(r"`(fedrec [a-z][^`|\\]*)`", TEXT)
TYPED = sorted({*COMMAND_LINES, *SPANS})
BLOCKS = [(page, block) for page in BY_HAND for block in blocks(page.read_text("utf-8"))]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def of(*languages: str) -> pytest.MarkDecorator:
    """Give a test each fenced block of these languages, called by its page and line."""
    found = [(f"{named(page)}:{block.line}", block) for page, block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", [block for _, block in found], ids=[place for place, _ in found])


@pytest.mark.parametrize("line", TYPED)
def test_a_command_that_a_document_names_exists_with_its_options(line):
    words = shlex.split(line)[1:]
    command = next(c for c in COMMANDS if c.name == words[0]).load()
    while isinstance(command, click.Group):
        words = words[1:]
        if not words:
            return
        command = command.commands[words[0]]
    # `fedrec audit` takes paths, and one word that is a command
    command = getattr(command, "commands", {}).get(words[1] if len(words) > 1 else "", command)
    known = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts} | {"--help"}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known


@of("python")
def test_a_block_of_python_compiles_and_what_it_imports_is_there(block: Block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@of("json", "toml")
def test_a_block_of_json_or_toml_can_be_read_and_where_it_is_of_a_scenario_it_is_one(block: Block):
    table = json.loads(block.text) if block.language == "json" else tomllib.loads(block.text)
    if block.language == "toml" and table.keys() & {WITH_PRIVACY, *Scenario.model_fields}:
        parse_scenario(table)


def test_every_block_says_what_it_is_or_is_for_the_shell():
    known = {"", "bash", "console", "json", "python", "sh", "text", "toml"}
    assert [(named(page), block.line, block.language) for page, block in BLOCKS if block.language not in known] == []


def test_every_make_target_that_a_page_names_exists():
    named = {*re.findall(r"`make ([a-z-]+)", TEXT), *re.findall(r"^(?:\$ )?make ([a-z-]+)", TEXT, re.MULTILINE)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named
    assert named <= targets


def test_the_page_on_the_command_line_has_every_command_and_every_exit_code():
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert [command.name for command in COMMANDS if f"`fedrec {command.name}" not in page] == []
    assert [code for code in (0, 1, 2, 70, 130) if f"| {code} |" not in page] == []


def test_every_test_that_a_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 100
    assert sorted(named - set(re.findall(r"def (test_\w+)", code))) == []
