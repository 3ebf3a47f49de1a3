"""The command in a record is what was typed, without where its results went."""

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from fedrec.cli.typed import typed_command

app, bench = typer.Typer(), typer.Typer()


@bench.command()
def race(
    run: Annotated[Path, typer.Argument()],
    dp: Annotated[bool, typer.Option("--dp/--no-dp")] = True,
    rounds: int = 3,
    overrides: Annotated[list[str] | None, typer.Option("--set")] = None,
    store: Path | None = None,
) -> None:
    print(typed_command())


@bench.command()
def other() -> None: ...


app.add_typer(bench, name="bench")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["runs/a"], "a"),
        (["/home/somebody/runs/a", "--rounds", "3", "--store", "x.json"], "a --rounds 3"),
        (["a", "--set", "x.y=a b", "--set", "z=1", "--no-dp"], "a --no-dp --set 'x.y=a b' --set z=1"),
    ],
)
def test_only_what_was_typed_is_told_and_no_path(typed, told):
    found = CliRunner().invoke(app, ["bench", "race", *typed])
    assert found.stdout == f"fedrec bench race {told}\n"
