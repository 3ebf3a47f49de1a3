"""The reasons matter: without the named events the item falls further than without random ones."""

import numpy as np
import pytest

from fedrec.config import parse_scenario
from fedrec.data.histories import Histories
from fedrec.data.load import load_dataset
from fedrec.explanations.deletion import deletion_test
from fedrec.models import build_model
from fedrec.runs.folder import RunFolder
from server.checkpoint import Checkpoints
from simulations import simulate as simulation
from simulations.benches.explanations import bench_explanations

TRAINED = {
    "data": {"synthetic_users": 80, "synthetic_items": 60},
    "model": {"dim": 8, "history_length": 12, "branches": ["cf", "mf"]},
    "training": {"rounds": 10, "sample_rate": 1.0, "server_learning_rate": 0.03},
    "privacy": {"enabled": False},
    "evaluation": {"every": 0, "floors": False, "bootstrap": 100},
}


def test_losses_are_those_of_the_events_that_were_taken_out(linear, weights):
    history = np.array([3, 1, 4, 2, 5, 9], np.int32)
    found = deletion_test(
        linear, Histories.from_lists([history, [1]]), [0, 1], np.eye(12, dtype=np.float32), np.random.default_rng(0)
    )
    rows = sum(weights.values())
    lifted = rows - rows.mean(axis=1, keepdims=True)
    scores = lifted[history].sum(axis=0)
    unmet = np.setdiff1d(np.arange(12), history)
    first = unmet[np.argmax(scores[unmet])]
    largest = np.sort(lifted[history, first])[-3:].sum()
    assert found.users.tolist() == [0]  # the other has too few events
    assert found.score_lost["influence"] == pytest.approx([largest / scores.std()], rel=1e-4)
    left = scores - lifted[history[np.argsort(-lifted[history, first])[:3]]].sum(axis=0)
    assert found.ranks_lost["influence"] == [(left[unmet] > left[first]).sum()]


def test_no_users_are_an_empty_answer(linear):
    found = deletion_test(
        linear, Histories.from_lists([[1]]), [0], np.eye(12, dtype=np.float32), np.random.default_rng(0)
    )
    assert found.score_lost["random"].shape == (0,)


def test_in_a_trained_run_the_named_events_matter_more_than_random_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "write_report", lambda folder: None)  # pictures take longer than the training
    scenario = parse_scenario(TRAINED)
    simulation.simulate(scenario, tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    dataset = load_dataset(scenario.data, scenario.run.seed)
    model = build_model(scenario.model, dataset.catalogue, 0)
    state = Checkpoints(folder.checkpoints, dataset.catalogue.digest).latest(model.shared_state())
    found = bench_explanations(
        model, state.shared, dataset.splits.final.train, local=None, num_users=20, num_events=3, seed=0
    )
    influence, nearest, random = found.rows
    assert found.num_users == 20
    assert influence.over_random.low > 0
    assert influence.beats_random > 0.9
    assert influence.ranks_lost > 2 * random.ranks_lost
    assert nearest.over_random.low > 0
