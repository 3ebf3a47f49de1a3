"""What surrounds the code: one version, hooks that call what is there, targets that say what they are for."""

import re
import subprocess
import tomllib
from pathlib import Path

import fedrec

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_the_same_wherever_it_stands() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    released = re.findall(r"^## (\d[\d.]*) - ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert citation is not None
    assert {fedrec.__version__, project, citation[1], released[0]} == {project}


def test_each_hook_calls_a_program_that_development_installs() -> None:
    entries = re.findall(r"entry: \.venv/bin/(\S+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["dev"]
    packages = {re.split(r"[<>=\[]", one)[0] for one in wanted}
    by_program = {"lint-imports": "import-linter"}
    assert len(entries) == 5
    assert {by_program.get(entry, entry) for entry in entries} <= packages
    assert "pre-commit" in packages


def test_make_alone_lists_every_target_with_what_it_is_for() -> None:
    told = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony is not None
    targets = phony[1].replace("\\", " ").split()
    lines = {line.split()[0]: line.split(None, 1)[1] for line in told.splitlines() if line.startswith("  ")}
    assert {"demo", "test", "docs", "bench", "deploy-demo"} <= set(targets)
    assert sorted(set(targets) - set(lines)) == []
    assert all(len(words) > 10 for words in lines.values())
