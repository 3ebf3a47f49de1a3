"""The race of places: every contestant trains the same users, and comes to the same model."""

import dataclasses

import pytest
import torch

from simulations.benches.places import (
    ALL,
    ROUNDS,
    SAME_DIVISION_TOLERANCE,
    TOLERANCE,
    Contestant,
    Row,
    bench_places,
    contestants,
    profile_places,
)
from simulations.benches.racing import in_fresh_process
from simulations.benches.scenarios import bench_scenario

IN_PROCESS = [one for one in contestants(3, one_user_a_node=True) if one.place == "in-process"]


@pytest.mark.parametrize("dp", [True, False])
def test_contestants_train_the_same_users_to_the_same_model(dp):
    told: list[tuple[str, int]] = []
    scenario = bench_scenario(users=6, rounds=1, dp=dp)
    found = bench_places(scenario, entrants=IN_PROCESS, repeats=1, on_lap=lambda *lap: told.append(lap))
    assert told == [(one.name, 1) for one in IN_PROCESS]
    assert [(row.users, row.nodes) for row in found.rows] == [(6, 1), (6, 3), (6, 6)]
    assert all(row.same_model for row in found.rows)
    assert found.rows[0].difference == 0


@pytest.mark.slow  # a bench's own figures
def test_figures_are_of_the_laps_and_ratios_to_the_last_contestant():
    found = bench_places(bench_scenario(users=6, rounds=2), entrants=IN_PROCESS[:2], repeats=2)
    for row in found.rows:
        laps = found.race.laps[row.contestant.name]
        assert [lap[ALL] for lap in laps] == [pytest.approx(12 / lap["seconds_in_all"]) for lap in laps]
        assert all(lap[ROUNDS] > lap[ALL] for lap in laps)
    assert found.rows[-1].ratio.median == 1
    first, last = (found.race.laps[one.name] for one in IN_PROCESS[:2])
    assert found.rows[0].ratio.high == pytest.approx(max(a[ALL] / b[ALL] for a, b in zip(first, last, strict=True)))


def test_fewer_users_are_held_against_the_model_that_these_come_to():
    few = Contestant(name="few", place="in-process", nodes=0, users=4)
    found = bench_places(bench_scenario(users=9, rounds=1), entrants=[IN_PROCESS[0], few], repeats=1)
    assert [row.users for row in found.rows] == [9, 4]
    assert found.rows[1].same_model


def test_another_model_would_be_noticed():
    row = bench_places(bench_scenario(users=4, rounds=1), entrants=IN_PROCESS[:1], repeats=1).rows[0]
    assert not dataclasses.replace(row, difference=2 * TOLERANCE).same_model
    assert not dataclasses.replace(row, same_division_difference=2 * SAME_DIVISION_TOLERANCE).same_model


def test_ray_comes_last_and_alone_may_have_fewer_users():
    racing = contestants(4, ray_users=100)
    assert [one.users for one in racing] == [0, 0, 0, 100]
    assert racing[-1] == Contestant(name="Ray, 1 user a node", place="ray", nodes=0, users=100)


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    bench_places(bench_scenario(users=4, rounds=1), entrants=IN_PROCESS[:1], repeats=1)
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_profile_shows_what_a_round_is_made_of(tmp_path):
    found = profile_places(bench_scenario(users=4, rounds=1), tmp_path / "trace.json")
    assert "simulations.benches.timed_run.run_timed" in {cost.name for cost in found.functions}
    assert found.trace.exists()


@pytest.mark.slow
@pytest.mark.process
def test_ray_and_this_process_come_to_the_same_model_on_as_many_nodes():
    """In a process of its own, because Ray leaves files open behind it."""
    rows = in_fresh_process(_rows_with_ray)
    in_process, ray = rows
    assert (in_process.nodes, ray.nodes) == (3, 3)
    assert ray.same_division_difference is not None
    assert ray.same_division_difference <= SAME_DIVISION_TOLERANCE


def _rows_with_ray() -> tuple[Row, ...]:
    racing = [one for one in contestants(3) if one.nodes == 3]
    return bench_places(bench_scenario(users=9, rounds=2), entrants=racing, repeats=1).rows
