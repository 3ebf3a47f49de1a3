import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fedrec.cli.main import run
from fedrec.errors import ConfigError
from simulations.attacks import grid
from simulations.attacks.authors.record import Reproduction
from simulations.attacks.authors.record import Row as AuthorsRow
from simulations.attacks.grid import CLEAN, Cell, Row, Table, cells, defences_of
from simulations.attacks.page import robustness_page
from simulations.attacks.registry import ATTACKS
from simulations.benches.origin import Origin

ORIGIN = Origin(code="0d596aa43e", date="2026-11-23", machine="a machine")
CELL = Cell(world="factors", data="ml-100k", defence="none", attack="pieck-ipe", fraction=0.05, seed=0)


def row(cell: Cell, er: float, hr: float) -> Row:
    return Row(
        cell=cell,
        er={10: 0.0, 30: er},
        hr={10: 0.1, 30: hr},
        ndcg={10: 0.05, 30: hr / 2},
        alarms={"exposure": 5},
        target=7,
        target_met=3,
        seconds=1.0,
        origin=ORIGIN,
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    played: list[Cell] = []

    def play(cell: Cell) -> Row:
        played.append(cell)
        return row(cell, 0.5, 0.1)

    monkeypatch.setattr(grid, "play", play)
    return played


def test_a_table_goes_on_where_it_was_interrupted(tmp_path: Path, counted: list[Cell]) -> None:
    asked = list(
        cells("factors", "ml-100k", attacks=["a-ra", "psmu"], defences=["none"], fractions=[0.05], seeds=[0, 1])
    )
    assert [cell.attack for cell in asked] == [CLEAN, "a-ra", "psmu"] * 2
    table = Table(tmp_path / "rows" / "attacks.jsonl")
    first = table.fill(asked)
    next(first), next(first)
    with table.path.open("a") as file:
        file.write('{"cell": {"world": "fac')  # killed while it wrote
    assert len(table.rows()) == 2
    list(Table(table.path).fill(asked))
    assert counted == asked
    assert set(table.rows()) | {asked[2]} == set(asked)


def test_rows_come_back_as_they_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "attacks.jsonl"
    path.write_text(json.dumps(asdict(row(CELL, 0.25, 0.125))) + "\n")
    assert Table(path).rows() == {CELL: row(CELL, 0.25, 0.125)}


@pytest.mark.parametrize(("attacks", "defences"), [(["pieck"], ["none"]), (["pieck-ipe"], ["nothing"])])
def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(attacks: list[str], defences: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"there is no (attack 'pieck'|defence 'nothing').* are .*none|pieck-ipe"):
        list(cells("factors", "ml-100k", attacks=attacks, defences=defences, fractions=[0.05], seeds=[0]))


def test_every_attack_of_the_issue_and_every_defence_is_named() -> None:
    promoting = {name for name, kind in ATTACKS.items() if kind.goal == "promote"}
    assert {
        "fedrec-attack",
        "a-ra",
        "a-hum",
        "pip-attack",
        "psmu",
        "pieck-ipe",
        "pieck-uea",
        "sybils",
        "false-claims",
    } == promoting
    assert {"spattack-omniscient", "cluster-attack", "flipping", "free-riders-zero"} <= set(ATTACKS) - promoting
    assert {"none", "growth", "krum", "median", "hics", "owner-cap"} <= set(defences_of("factors"))
    assert {"none", "guarded", "user-dp"} <= set(defences_of("fedrec"))


def test_the_page_marks_what_misses_a_bar_and_shows_the_spread_over_seeds() -> None:
    second = replace(CELL, seed=1)
    spoiler = replace(CELL, attack="cluster-attack")
    found = [
        row(CELL, 0.9, 0.1),
        row(CELL.clean, 0.001, 0.1),
        row(second, 0.7, 0.1),
        row(second.clean, 0.001, 0.1),
        row(spoiler, 0.0, 0.097),
    ]
    authors = Reproduction(
        name="a-hum",
        source="a paper",
        data="made up",
        fraction=0.001,
        iterations=10,
        measured=(AuthorsRow(iteration=10, hr=0.2, er5=0.1, er10=0.4, er20=0.98),),
        clean=(AuthorsRow(iteration=10, hr=0.2, er5=0.0, er10=0.0, er20=0.0),),
        claimed="1.0",
        hr="recall",
        own="nothing",
        seed=0,
        seconds=1.0,
        origin=ORIGIN,
    )
    page = robustness_page(found, [authors])
    assert "**0.800 [0.700, 0.900]**" in page
    assert "| 3.0 % |" in page  # within the bar: not marked
    assert "0.10 / 0.40 / 0.98" in page
    assert page.endswith("\n- 6 of code 0d596aa43e, 2026-11-23, on a machine\n")


def test_the_command_fills_the_table_once(
    tmp_path: Path, counted: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "attacks.jsonl"
    command = ["bench", "attacks", "--attacks", "pieck-ipe", "--defences", "none", "--store", str(store)]
    assert run(command) == run(command) == 0
    assert "pieck-ipe" in capsys.readouterr().out
    assert len(counted) == len(Table(store).rows()) == 2


def test_fractions_that_are_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "attacks", "--fractions", "0.05,2"]) == 2
    assert "--fractions takes shares above 0 and up to 1" in capsys.readouterr().err
