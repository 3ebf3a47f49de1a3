"""The race of places: every entrant trains the same users, and comes to the same model."""

import pytest
import torch

from fedrec.errors import FedRecError
from simulations import bench_places as module
from simulations.bench_places import ENTRANTS, TOLERANCE, Entrant, bench_places

IN_PROCESS = [entrant for entrant in ENTRANTS if entrant.place == "in-process"]


def test_entrants_train_the_same_users_to_the_same_model():
    started: list[str] = []
    laps = bench_places(users=6, rounds=1, entrants=IN_PROCESS, on_start=started.append)
    assert started == [entrant.name for entrant in IN_PROCESS]
    assert [lap.nodes for lap in laps] == [1, 6]
    assert all(lap.same_model for lap in laps)
    assert laps[0].difference == 0
    assert laps[1].difference <= TOLERANCE


def test_speed_is_of_the_whole_run_and_relative_to_the_last_entrant():
    laps = bench_places(users=6, rounds=2, entrants=IN_PROCESS)
    for lap in laps:
        assert lap.users_per_second == pytest.approx(6 * 2 / lap.seconds_in_all)
        assert lap.seconds < lap.seconds_in_all
        assert lap.speedup == pytest.approx(lap.users_per_second / laps[-1].users_per_second)


def test_another_model_would_be_noticed():
    lap = bench_places(users=4, rounds=1, entrants=IN_PROCESS[:1])[0]
    assert not module.Lap(**{**vars(lap), "difference": 2 * TOLERANCE}).same_model


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    bench_places(users=4, rounds=1, entrants=IN_PROCESS[:1])
    assert torch.get_num_threads() == before


def test_a_place_that_ends_without_a_result_is_an_error(monkeypatch):
    real = module.run_in
    monkeypatch.setattr(module, "run_in", lambda place, *rest: None if place == "ray" else real(place, *rest))
    with pytest.raises(FedRecError, match="somewhere ended without a result"):
        bench_places(users=4, rounds=1, entrants=[Entrant(name="somewhere", place="ray", users_per_node=1)])
