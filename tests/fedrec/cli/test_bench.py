"""The bench commands print what was measured; measuring has tests of its own."""

import json
import platform
import re
from math import nan

import pytest
import torch

from fedrec.cli.main import run
from fedrec.errors import ConfigError
from fedrec.evaluation.bootstrap import Interval
from simulations.benches.code import Code
from simulations.benches.codecs import CodecBench, CodecRow
from simulations.benches.measurement import Measurement
from simulations.benches.pfl import OURS, OURS_DP, PFL_DP, THEIRS, PflBench, Work
from simulations.benches.places import Contestant
from simulations.benches.racing import Race
from simulations.benches.scale import ScaleBench, ScalePoint

IN_PROCESS = (
    Contestant(name="in-process, 1 node", place="in-process", nodes=1),
    Contestant(name="in-process, 3 nodes", place="in-process", nodes=3),
)
MACHINE = re.compile(r"\d+ cores, [\d.]+ GiB, load [\d.]+; Python \S+, torch \S+, 1 thread; \d{4}-\d\d-\d\d")


@pytest.fixture
def without_ray(monkeypatch):
    """Let the bench measure for real, but in this process alone."""
    monkeypatch.setattr("fedrec.cli.bench.contestants", lambda *numbers, **settings: IN_PROCESS)


@pytest.fixture
def without_pfl(monkeypatch, tmp_path):
    """Let nobody race, and no environment be made."""
    lap = {"ms_per_user": 2.0, "users_per_second": 500.0, "peak_rss_bytes": 2.0**29}
    ours = {**lap, "ms_per_user": 0.02, "users_per_second": 50_000.0}
    laps = {OURS_DP: (ours,), PFL_DP: (lap,), OURS: (ours,), THEIRS: (lap,)}
    measured: list[Work] = []

    def measure(work, python, **settings):
        measured.append(work)
        return PflBench(work=work, race=Race(laps=laps))

    monkeypatch.setattr("fedrec.cli.bench.pfl_python", lambda report: tmp_path / "python")
    monkeypatch.setattr("fedrec.cli.bench.measure_pfl", measure)
    return measured


# --- places -------------------------------------------------------------------------------------------------------
def test_places_are_measured_and_give_the_same_model(without_ray, capsys):
    assert run(["bench", "places", "--users", "12", "--rounds", "1", "--repeats", "2", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [row["nodes"] for row in result["places"]] == [1, 3]
    assert all(row["same_model"] for row in result["places"])
    assert result["places"][1]["ratio"]["median"] == pytest.approx(1)
    assert [len(laps) for laps in result["laps"].values()] == [2, 2]
    assert (result["dp"], result["machine"]["threads"]) == (True, 1)
    assert captured.err.splitlines()[0] == "lap 1: in-process, 1 node"
    assert captured.err.count("lap 2: in-process") == 2


def test_places_stand_side_by_side_in_a_table_of_ordinary_width_over_the_machine(without_ray, capsys):
    assert run(["bench", "places", "--users", "9", "--rounds", "1", "--repeats", "1", "--model", "mf", "--no-dp"]) == 0
    printed = capsys.readouterr().out
    assert "synthetic, mf, without DP, 1 rounds" in printed
    rows = [line.strip("│").split("│") for line in printed.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row[:2]] for row in rows] == [[one.name, "9"] for one in IN_PROCESS]
    assert rows[1][2].strip().endswith("(1x)")
    assert MACHINE.search(printed.splitlines()[-1])


def test_fewer_users_for_ray_are_said_with_what_may_be_compared(monkeypatch, capsys):
    few = (IN_PROCESS[0], Contestant(name="Ray, 1 user a node", place="in-process", nodes=0, users=4))
    monkeypatch.setattr("fedrec.cli.bench.contestants", lambda *numbers, **settings: few)
    assert run(["bench", "places", "--users", "9", "--ray-users", "4", "--rounds", "1", "--repeats", "1"]) == 0
    assert "with one user a node only 4 users: compare the rounds alone" in capsys.readouterr().out


def test_a_model_that_differs_is_marked(without_ray, monkeypatch, capsys):
    monkeypatch.setattr("simulations.benches.places.largest_difference", lambda one, other: 0.5)
    assert run(["bench", "places", "--users", "9", "--rounds", "1", "--repeats", "1"]) == 0
    assert capsys.readouterr().out.count("0.5 !") == 2


def test_a_place_that_is_not_installed_is_refused_with_the_remedy(monkeypatch, capsys):
    def fail(*scenario, **settings):
        raise ConfigError("federation.place = ray needs Ray: pip install 'fedrec[sim]', or use in-process")

    monkeypatch.setattr("fedrec.cli.bench.measure_places", fail)
    assert run(["bench", "places"]) == 2
    assert capsys.readouterr().err.startswith("error: federation.place = ray needs Ray")


# --- central ------------------------------------------------------------------------------------------------------
def test_central_training_stands_beside_federated_rounds_with_both_ratios(capsys):
    assert run(["bench", "central", "--users", "10", "--rounds", "1", "--repeats", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["same_step"]
    rates = {name: rate["median"] for name, rate in result["interactions_per_second"].items()}
    ratio = result["ratios"]["federated, no DP"]["central, PyTorch"]["median"]
    assert ratio == pytest.approx(rates["federated, no DP"] / rates["central, PyTorch"])


def test_central_training_prints_a_table_over_the_machine(capsys):
    assert run(["bench", "central", "--users", "10", "--rounds", "1", "--repeats", "1", "--model", "mf"]) == 0
    printed = capsys.readouterr().out
    assert "synthetic, mf: 10 users" in printed
    assert "the rivals take the same steps" in printed
    assert MACHINE.search(printed.splitlines()[-1])


def test_rivals_that_take_other_steps_are_not_passed_over(monkeypatch, capsys):
    monkeypatch.setattr("simulations.benches.central.TOLERANCE", -1.0)
    assert run(["bench", "central", "--users", "10", "--rounds", "1", "--repeats", "1"]) == 0
    assert "the rivals take NOT the same steps" in capsys.readouterr().out


# --- storing ------------------------------------------------------------------------------------------------------
def test_what_was_found_is_stored_with_command_code_and_machine(tmp_path, capsys):
    store = tmp_path / "new" / "central.json"
    options = ["--users", "10", "--rounds", "1", "--repeats", "2", "--model", "mf", "--store", str(store)]
    assert run(["bench", "central", *options]) == 0
    assert f"kept in {store}" in capsys.readouterr().err
    stored = Measurement.read(store)
    assert stored.command == "fedrec bench central --model mf --users 10 --rounds 1 --repeats 2"
    assert stored.found is not None
    assert [len(laps) for laps in stored.found["laps"].values()] == [2] * 4
    assert stored.code == Code.here()
    assert (stored.machine.threads, stored.machine.torch) == (1, torch.__version__)
    assert str(tmp_path) not in store.read_text("utf-8")
    assert platform.node() not in store.read_text("utf-8")


# --- pfl ----------------------------------------------------------------------------------------------------------
def test_pfl_is_raced_for_each_size_of_the_catalogue(without_pfl, capsys):
    assert run(["bench", "pfl", "--users", "50", "--cohort", "10", "--rounds", "1", "--repeats", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [work.num_items for work in without_pfl] == [1000, 10_000]
    assert [one["work"]["cohort"] for one in result["works"]] == [10, 10]
    assert result["works"][0]["ratios"][OURS_DP]["median"] == pytest.approx(100)


def test_pfl_stands_beside_ours_with_memory(without_pfl, capsys):
    assert run(["bench", "pfl", "--items", "1000", "--users", "50", "--cohort", "10"]) == 0
    printed = capsys.readouterr().out
    first = next(line for line in printed.splitlines() if OURS_DP in line)
    assert [cell.strip() for cell in first.strip("│").split("│")] == [
        *(OURS_DP, "0.02 [0.02, 0.02]", "50k", "100", "512")
    ]


def test_a_cohort_larger_than_the_population_is_refused(without_pfl, capsys):
    assert run(["bench", "pfl", "--users", "50", "--cohort", "60"]) == 2
    assert "lower --cohort" in capsys.readouterr().err


# --- scale --------------------------------------------------------------------------------------------------------
SCALE = ScaleBench(
    points=(
        ScalePoint(users=10, items=20, events=90, seconds=0.5, peak_rss_bytes=2**29, users_per_second=20.0),
        ScalePoint(users=100, items=20, events=900, seconds=5.0, peak_rss_bytes=2**30, users_per_second=20.0),
    ),
    exponent_users=1.0,
    exponent_items=nan,
    race=Race(laps={"10 users, 20 items": ({"seconds": 0.5},)}),
)


@pytest.fixture
def without_growth(monkeypatch):
    """Let nothing grow, but note what was asked for."""
    asked: list[dict[str, object]] = []

    def measure(**settings):
        asked.append(settings)
        return SCALE

    monkeypatch.setattr("fedrec.cli.bench.measure_scale", measure)
    return asked


def test_scale_prints_points_and_the_exponents_that_could_be_fitted(without_growth, capsys):
    assert run(["bench", "scale", "--users", "10,100", "--memory-mib", "64"]) == 0
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    assert rows == [["10", "20", "90", "0.5", "20", "512"], ["100", "20", "900", "5", "20", "1024"]]
    assert "seconds grow with users to the power of 1.00" in printed
    assert "with items" not in printed
    assert (without_growth[0]["users"], without_growth[0]["memory_mib"]) == ([10, 100], 64)


def test_an_exponent_that_could_not_be_fitted_is_null_in_json(without_growth, capsys):
    assert run(["bench", "scale", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["exponent_users"], result["exponent_items"]) == (1.0, None)
    assert [point["users"] for point in result["points"]] == [10, 100]


# --- codecs -------------------------------------------------------------------------------------------------------
def test_codecs_are_set_beside_the_plain_run_under_each_seed(monkeypatch, capsys):
    asked: list[tuple[int, ...]] = []

    def measure(scenario, *, seeds, out, progress):
        asked.append(tuple(seeds))
        interval = Interval(mean=-0.001, low=-0.01, high=0.01)
        row = CodecRow(
            name="int8",
            bytes_up=26_000.0,
            bytes_down=100_000.0,
            ratio=0.26,
            hits=0.15,
            gain=0.08,
            changes=(-0.01, 0.03),
            difference=interval,
        )
        return CodecBench(scenario="tiny", seeds=tuple(seeds), rounds=2, nodes=3, users=60, rows=(row,))

    monkeypatch.setattr("fedrec.cli.bench.measure_codecs", measure)
    assert run(["bench", "codecs", "tiny", "--seeds", "0,1"]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "int8" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "int8",
        "26k",
        "0.260",
        "0.1500",
        "0.0800",
        "+1.0 %",
    ]
    assert run(["bench", "codecs", "tiny", "--seeds", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["ratio"] == 0.26
    assert asked == [(0, 1), (0,)]


# --- profiles -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_profile_is_printed_beside_the_figures(tmp_path, capsys):
    trace = tmp_path / "trace.json"
    options = ["--users", "10", "--rounds", "1", "--repeats", "1", "--profile", str(trace)]
    assert run(["bench", "central", *options]) == 0
    printed = capsys.readouterr().out
    assert "PyTorch's operators" in printed
    assert f"trace: {trace}" in printed
    assert json.loads(trace.read_text())["traceEvents"]


def test_a_profile_of_another_kind_is_refused_before_the_race(tmp_path, capsys):
    assert run(["bench", "central", "--users", "10", "--profile", str(tmp_path / "trace.svg")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "ends in .json or .json.gz" in captured.err


@pytest.mark.parametrize(
    ("command", "inside"),
    [
        (["scale", "--users", "10"], "simulations.benches.scale.measure"),
        pytest.param(
            ["codecs", "tiny", "--set", "training.rounds=1"], "simulations.simulate.simulate", marks=pytest.mark.slow
        ),
    ],
)
def test_other_benches_profile_our_work_too(command, inside, without_growth, monkeypatch, tmp_path, capsys):
    rows = CodecBench(scenario="tiny", seeds=(0,), rounds=1, nodes=3, users=60, rows=())
    monkeypatch.setattr("fedrec.cli.bench.measure_codecs", lambda *scenario, **settings: rows)
    monkeypatch.setattr("simulations.benches.scale.COMMON_ITEMS", 50)
    assert run(["bench", *command, "--profile", str(tmp_path / "trace.json"), "--json"]) == 0
    functions = json.loads(capsys.readouterr().out)["profile"]["functions"]
    assert inside in {cost["name"] for cost in functions}
