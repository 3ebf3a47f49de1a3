"""The privacy bench prints and writes what was measured; what it measures has tests of its own."""

import json

import pytest

from fedrec.cli.main import run
from simulations.benches.measurement import Measurement
from simulations.benches.pages.privacy import privacy_page
from simulations.benches.privacy_overhead import WORKLOADS, OverheadRow
from simulations.benches.privacy_rows import Row
from simulations.benches.racing import Race, Spread

BARS = (
    Row(name="live query", asked="at most 50 ms", measured="7.0 ms", met=True),
    Row(name="final figure", asked="at most 5000 ms", measured="9000.0 ms", met=False),
)


def row(overhead: float) -> OverheadRow:
    spread = Spread(median=overhead, low=overhead - 0.01, high=overhead + 0.01)
    second = Spread(median=1.0, low=0.9, high=1.2)
    race = Race(laps={"without privacy": ({"seconds_a_round": 1.0},), "with privacy": ({"seconds_a_round": 1.1},)})
    return OverheadRow(
        workload=WORKLOADS[0], plain=second, private=second, overhead=spread, noise=0.02, ledger=0.01, race=race
    )


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedrec.cli.bench_privacy.PARTS", {"speed": lambda: iter(BARS)})
    monkeypatch.setattr("fedrec.cli.bench_privacy.ALL", ("speed", "overhead"))
    monkeypatch.setattr("fedrec.cli.bench_privacy.bench_overhead", lambda **settings: [row(0.1), row(0.4)])


def test_a_part_alone_prints_its_bars_and_says_which_are_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "privacy", "speed"]) == 0
    shown = capsys.readouterr().out
    assert "7.0 ms" in shown
    assert shown.count("MISSED") == 1
    assert "a round with and without" not in shown


def test_the_overhead_stands_beside_its_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "privacy", "overhead"]) == 0
    shown = capsys.readouterr().out
    assert "at most 15%" in shown
    assert "+40%" in shown
    assert shown.count("MISSED") == 1


def test_json_holds_bars_and_every_lap(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "privacy", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [bar["met"] for bar in record["bars"]] == [True, False]
    assert [lap["within"] for lap in record["overhead"]] == [True, False]
    assert record["overhead"][0]["race"]["laps"]["with privacy"] == [{"seconds_a_round": 1.1}]


def test_what_is_stored_makes_the_page(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "privacy.json"
    assert run(["bench", "privacy", "speed", "overhead", "--rounds", "3", "--store", str(store)]) == 0
    stored = Measurement.read(store)
    assert stored.command == "fedrec bench privacy speed overhead --rounds 3"
    text = privacy_page(stored)
    assert "| final figure | at most 5000 ms | 9000.0 ms | MISSED |" in text
    assert "+10%" in text
    assert f"Code: {stored.origin}." in text


def test_an_unknown_part_is_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "privacy", "spede"]) == 2
    assert "there is no part 'spede' of this benchmark: take speed, overhead" in capsys.readouterr().err
