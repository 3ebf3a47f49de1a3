"""How rounds grow: the fit, the drawn users, and points that are measured where nothing else is in memory."""

import math

import numpy as np
import pytest

from simulations.benches import scale as module
from simulations.benches.scale import Work, bench_scale, draw_histories, exponent, measure


def test_the_exponent_is_that_of_a_power_law_and_undefined_for_one_size():
    assert exponent({10: 3.0, 1000: 3.0 * 100**1.25, 10**6: 3.0 * 1e5**1.25}) == pytest.approx(1.25)
    assert math.isnan(exponent({10: 3.0}))


def test_histories_have_the_length_and_the_skew_of_services_and_the_same_seed_gives_the_same(monkeypatch):
    histories = draw_histories(20_000, 1000, seed=3)
    assert np.median(histories.lengths) == pytest.approx(module.MEDIAN_EVENTS, abs=1)
    assert (histories.lengths.min(), histories.items.min(), histories.items.max()) == (2, 0, 999)
    counts = np.sort(np.bincount(histories.items, minlength=1000))[::-1]
    assert counts[0] / counts[99] == pytest.approx(100, rel=0.15)  # Zipf: the hundredth item has a hundredth
    monkeypatch.setattr(module, "BLOCK_USERS", 7000)
    again = draw_histories(20_000, 1000, seed=3)
    np.testing.assert_array_equal(again.items, histories.items)
    np.testing.assert_array_equal(again.offsets, histories.offsets)


def test_a_point_is_a_round_of_everybody_after_one_to_warm_up():
    found = measure(Work(users=40, items=30, dim=4, num_negatives=4))
    assert found["events"] == len(draw_histories(40, 30, seed=0).items)
    assert found["seconds"] > 0
    assert found["peak_rss_bytes"] > 2**20


def test_points_take_turns_each_in_a_fresh_process_and_are_fitted_by_users_and_by_items(monkeypatch):
    """The processes are stood in for by a law of growth: seconds are users^1.5 times items^0.5."""
    processes, laps = [], []

    def stand_in(function, work):
        assert function is measure
        processes.append(work)
        slower = 1.0 + 0.1 * (len(laps) > 4)  # the second repeat
        seconds = slower * work.users**1.5 * work.items**0.5
        return {"seconds": seconds, "peak_rss_bytes": work.users * work.items, "events": 2 * work.users}

    monkeypatch.setattr(module, "in_fresh_process", stand_in)
    found = bench_scale(
        users=[10, 100, 1000],
        items=[50, 5000],
        common_users=100,
        common_items=50,
        repeats=3,
        dim=8,
        on_lap=lambda name, repeat: laps.append((name, repeat)),
    )
    assert [(point.users, point.items) for point in found.points] == [(10, 50), (100, 50), (1000, 50), (100, 5000)]
    assert found.exponent_users == pytest.approx(1.5)
    assert found.exponent_items == pytest.approx(0.5)
    assert len(processes) == len(laps) == 12
    assert {work.dim for work in processes} == {8}
    assert [repeat for _, repeat in laps] == [1] * 4 + [2] * 4 + [3] * 4
    point = found.points[1]
    assert point.users_per_second == pytest.approx(100 / point.seconds)
    assert (point.events, point.peak_rss_bytes) == (200, 5000)


@pytest.mark.slow
def test_a_measured_point_comes_back_from_its_process():
    point = bench_scale(users=[30], items=[], common_items=20, dim=4, num_negatives=4, repeats=1).points[0]
    assert (point.users, point.items) == (30, 20)
    assert point.events == len(draw_histories(30, 20, seed=0).items)
