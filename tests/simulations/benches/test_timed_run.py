"""A federation under the clock: every round is timed, and the population may be cut."""

import numpy as np
import pytest

from fedrec.errors import FedRecError
from simulations.benches import timed_run as module
from simulations.benches.scenarios import bench_scenario
from simulations.benches.timed_run import Population, largest_difference, run_timed


@pytest.fixture
def population(tiny_dataset):
    return Population.of(tiny_dataset)


def test_every_round_has_its_time_and_no_time_is_outside_the_run(population):
    done = run_timed(bench_scenario(rounds=3), population)
    assert [report.round for report in done.reports] == [1, 2, 3]
    assert len(done.round_seconds) == 3
    assert 0 < sum(done.round_seconds) <= done.seconds_in_all
    assert done.num_users == 3 * len(population.histories)


def test_a_cut_population_is_the_first_users_over_the_same_catalogue(population):
    cut = population.first(5)
    assert cut.user_keys == population.user_keys[:5]
    assert np.array_equal(cut.histories[4], population.histories[4])
    assert cut.catalogue is population.catalogue


@pytest.mark.parametrize("users", [0, 40, 1000])
def test_all_users_are_kept_where_none_or_too_many_are_asked_for(population, users):
    assert population.first(users) is population


def test_private_parameters_of_all_users_come_back(population):
    done = run_timed(bench_scenario(rounds=1, dp=False), population)
    assert len(done.private["user.embedding"]) == len(population.histories)
    assert done.private["user.embedding"].abs().sum() > 0


def test_a_difference_is_the_largest_of_any_parameter(population):
    shared = run_timed(bench_scenario(rounds=1), population).shared
    other = {name: value.clone() for name, value in shared.items()}
    other["factors.bias"][3] += 0.25
    assert largest_difference(shared, other) == pytest.approx(0.25)
    assert largest_difference(shared, shared) == 0


def test_a_place_that_ends_without_a_result_is_an_error(population, monkeypatch):
    monkeypatch.setattr(module, "run_in", lambda *arguments, **options: None)
    with pytest.raises(FedRecError, match="in-process place ended without a result"):
        run_timed(bench_scenario(rounds=1), population)
