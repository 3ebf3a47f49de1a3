"""What the documents tell people to type exists."""

import re
import shlex
from pathlib import Path

import click
import pytest

from fedrec.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
LINES = [line.split("#")[0].strip() for line in TEXT.splitlines() if line.startswith("fedrec ")]
SPANS = re.findall(r"`(fedrec [a-z][^`|\\]*)`", TEXT)
TYPED = sorted({*LINES, *SPANS})


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
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_page_on_the_command_line_has_every_command_and_every_exit_code():
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert [command.name for command in COMMANDS if f"`fedrec {command.name}" not in page] == []
    assert [code for code in (0, 1, 2, 70, 130) if f"| {code} |" not in page] == []


def test_every_test_that_the_page_on_privacy_names_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "privacy.md").read_text("utf-8")))
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 100
    assert sorted(named - set(re.findall(r"def (test_\w+)", code))) == []


def test_every_section_that_the_page_on_privacy_points_to_exists():
    page = (ROOT / "docs" / "privacy.md").read_text("utf-8")
    heads = {
        re.sub(r"[^\w\s-]", "", head).strip().lower().replace(" ", "-")
        for head in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }
    assert sorted(set(re.findall(r"\]\(#([^)]*)\)", page)) - heads) == []


def test_every_make_target_that_the_readme_names_exists():
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named
    assert named <= targets
