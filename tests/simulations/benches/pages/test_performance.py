"""The page on performance says what is stored, judges it, and sets it beside what was published before."""

import json
from pathlib import Path

import pytest

from simulations.benches.central import OWN_KERNELS, PLAIN, RATE, WITH_DP, WITHOUT_DP
from simulations.benches.machine import Machine
from simulations.benches.measurement import Measurement
from simulations.benches.pages.bars import BARS
from simulations.benches.pages.earlier import Earlier, worse
from simulations.benches.pages.performance import SECTIONS, performance_page
from simulations.benches.plan import BENCHES, CENTRAL_MF, LONG, PFL, PRIVACY

RATES = {
    WITH_DP: (40.0, 60.0, 50.0),
    WITHOUT_DP: (90.0, 90.0, 90.0),
    PLAIN: (100.0, 100.0, 100.0),
    OWN_KERNELS: (50.0,) * 3,
}


@pytest.fixture
def central():
    found = {
        "users": 10,
        "interactions_per_step": 1234.0,
        "same_step": True,
        "laps": {name: [{RATE: rate} for rate in rates] for name, rates in RATES.items()},
    }
    return Measurement.ending_now("fedrec bench central --model mf", Machine.here(threads=1), found=found)


def row(page, what):
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {what} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_where_nothing_is_stored_every_bar_and_section_says_so():
    page = performance_page({})
    assert page.count("| not measured |") == len(BARS)
    assert "Nothing is stored: run `make bench`." in page
    assert all(f"`{bench}` was not measured." in page for section in SECTIONS for bench in section.benches)
    assert {row(page, bar.what)[-1] for bar in BARS} == {"not measured"}


def test_figures_are_medians_of_the_stored_laps_and_bars_are_judged(central):
    page = performance_page({CENTRAL_MF: central})
    what = "a private round against central training, mf alone"
    assert row(page, what) == ["at least 0.6x", "**0.5x**", "**missed**"]
    assert row(page, WITHOUT_DP) == ["90 [90, 90]", "0.9 [0.9, 0.9]", "1.8 [1.8, 1.8]"]
    assert f"```\nfedrec bench central --model mf\n```\n\nCode {central.origin}." in page
    assert "before the race the entrants take the same steps" in page


def test_a_bench_that_failed_says_why_and_the_others_stand(central):
    failed = Measurement.ending_now("fedrec bench pfl", Machine.here(threads=1), failed="there is no network")
    page = performance_page({CENTRAL_MF: central, PFL: failed})
    assert row(page, "users/s against pfl-research, same MF, 1k items") == ["at least 30x", "", "there is no network"]
    assert "Not measured: there is no network" in page
    assert "**0.5x**" in page


def earlier(key, value, why=""):
    return Earlier(key=key, value=value, commit="abc", date="2026-11-22", machine="another", why=why)


def test_a_figure_that_became_worse_is_marked_and_unexplained_until_somebody_explains_it(central):
    stored = {CENTRAL_MF: central}
    page = performance_page(stored, [earlier("central-mf-dp", 0.6)])
    published = page[page.index("## Against") :]
    what = "a private round against central training, mf alone"
    assert row(published, what) == ["0.6x", "abc, 2026-11-22", "0.5x", "**worse**", "unexplained"]
    unprivate = "a round without DP against central training, mf alone"
    page = performance_page(stored, [earlier("central-mf-dp", 0.6, "another processor"), earlier("central-mf", 0.85)])
    published = page[page.index("## Against") :]
    assert row(published, what)[-1] == "another processor"
    assert row(published, unprivate) == ["0.85x", "abc, 2026-11-22", "0.9x", "", ""]


@pytest.mark.parametrize(
    ("least", "then", "now", "found"),
    [
        (True, 10, 8.9, True),
        (True, 10, 9.1, False),
        (False, 10, 11.1, True),
        (False, 10, 5, False),
        (True, -0.4, -1, True),
    ],
)
def test_worse_is_by_more_than_a_tenth_in_the_direction_of_the_bar(least, then, now, found):
    bar = BARS[0].__class__(**{**vars(BARS[0]), "least": least})
    assert worse(bar, then, now) is found


def test_every_bench_of_the_record_has_its_section_and_every_bar_its_bench():
    shown = {bench for section in SECTIONS for bench in section.benches}
    planned = {bench.name for bench in (*BENCHES, *LONG)}
    assert planned == shown | {PRIVACY}
    assert {bar.bench for bar in BARS} <= planned
    assert len({bar.key for bar in BARS}) == len(BARS)


def test_earlier_figures_name_bars_that_there_are():
    path = Path(__file__).resolve().parents[4] / "docs" / "measured" / "earlier.json"
    assert {one["key"] for one in json.loads(path.read_text("utf-8"))} <= {bar.key for bar in BARS}
