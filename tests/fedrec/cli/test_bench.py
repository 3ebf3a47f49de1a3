"""The bench commands print what was measured; measuring has tests of its own."""

import json

import pytest

from fedrec.cli.main import run
from fedrec.errors import ConfigError
from simulations.bench_places import Entrant, Lap
from simulations.bench_places import bench_places as measure_places

IN_PROCESS = (
    Entrant(name="in-process, one node", place="in-process", users_per_node=0),
    Entrant(name="in-process, one user a node", place="in-process", users_per_node=1),
)


@pytest.fixture
def without_ray(monkeypatch):
    """Let the bench measure for real, but in this process alone."""

    def measure(**arguments):
        return measure_places(entrants=IN_PROCESS, **arguments)

    monkeypatch.setattr("fedrec.cli.bench.measure_places", measure)


def test_places_are_measured_and_give_the_same_model(without_ray, capsys):
    assert run(["bench", "places", "--users", "12", "--rounds", "1", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [lap["nodes"] for lap in result["places"]] == [1, 12]
    assert all(lap["same_model"] for lap in result["places"])
    assert result["places"][1]["speedup"] == pytest.approx(1)
    assert captured.err.count("timing: in-process") == 2


def test_places_stand_side_by_side_in_a_table_of_ordinary_width(monkeypatch, capsys):
    laps = [
        Lap(
            entrant=IN_PROCESS[0], nodes=1, seconds=1, seconds_in_all=4, users_per_second=200, speedup=20, difference=0
        ),
        Lap(
            entrant=IN_PROCESS[1],
            nodes=9,
            seconds=20,
            seconds_in_all=80,
            users_per_second=10,
            speedup=1,
            difference=0.5,
        ),
    ]
    monkeypatch.setattr("fedrec.cli.bench.measure_places", lambda **_: laps)
    assert run(["bench", "places"]) == 0
    printed = capsys.readouterr().out
    first = next(line for line in printed.splitlines() if "one node" in line)
    assert [cell.strip() for cell in first.strip("│").split("│")] == [
        *("in-process, one node", "1.00", "4.0", "200.0", "20.0", "same")
    ]
    assert "0.5 off" in printed


def test_a_place_that_is_not_installed_is_refused_with_the_remedy(monkeypatch, capsys):
    def fail(**_):
        raise ConfigError("federation.place = ray needs Ray: pip install 'fedrec[sim]', or use in-process")

    monkeypatch.setattr("fedrec.cli.bench.measure_places", fail)
    assert run(["bench", "places"]) == 2
    assert capsys.readouterr().err.startswith("error: federation.place = ray needs Ray")


def test_quality_compares_both_variants_over_seeds_with_the_floors(tmp_path, capsys):
    settings = ["training.rounds=1", "evaluation.every=0", "privacy.noise_multiplier=2", "privacy.epsilon=100"]
    options = [part for setting in settings for part in ("--set", setting)]
    out = tmp_path / "quality"
    assert run(["bench", "quality", "tiny", "--seeds", "1", "--out", str(out), *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)

    summaries = {
        name: json.loads((out / f"{name}-0" / "summary.json").read_text()) for name in ("without-dp", "with-dp")
    }
    measured = {one["name"]: one["seeds"][0] for one in result["qualities"]}
    assert measured["with-dp"]["hr@10"] == pytest.approx(summaries["with-dp"]["metrics"]["hr@10"])
    assert measured["ease"]["hr@10"] == pytest.approx(summaries["with-dp"]["floors"]["ease"]["hr@10"])
    assert set(result["epsilon"]) == {"with-dp-0"}
    (difference,) = [c for c in result["comparisons"] if (c["name"], c["floor"]) == ("with-dp", "without-dp")]
    expected = measured["with-dp"]["hr@10"] - measured["without-dp"]["hr@10"]
    assert difference["differences"]["hr@10"]["mean"] == pytest.approx(expected)
