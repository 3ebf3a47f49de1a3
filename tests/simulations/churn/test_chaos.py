"""Rounds among faults that a seed draws: what is promised holds after each of them, and a seed repeats a failure."""

import logging
import os
import shutil
import time
from pathlib import Path

import pytest
import torch

from fedrec.flower.progress import Progress
from tests.simulations.churn.chaos import BrokenPromiseError, Chaos, soak

pytestmark = pytest.mark.fault


def played(seed: int, folder: Path, rounds: int) -> Chaos:
    run = Chaos(seed=seed, folder=folder, rounds=rounds)
    run.play()
    return run


@pytest.mark.parametrize("seed", [1, 2])
def test_h83_promises_hold_among_faults_of_all_kinds(tmp_path, seed):
    run = played(seed, tmp_path, rounds=10)
    assert run.lives > 1
    assert run.checked >= 10
    assert sum(run.reasons.values()) > 5
    assert {"lost", "bad"} <= set(run.fates)


def test_h83_a_seed_repeats_all_that_happened(tmp_path):
    one, other = (played(2, tmp_path / name, rounds=8) for name in ("one", "other"))
    for name in ("lives", "crashes", "fates", "events", "reasons"):
        assert getattr(one, name) == getattr(other, name)


def test_h83_a_round_that_is_applied_twice_is_found_and_named_by_its_seed(tmp_path, monkeypatch):
    """Else nothing was put to the test."""
    commit = Progress.commit

    def twice(self, aggregated, **more):
        commit(self, aggregated, **more)
        if aggregated.number == 3:
            steps = self.state.optimizer["steps"]
            self.state.optimizer["steps"] = steps + torch.ones_like(steps)
            self._tell_of(aggregated.report)

    monkeypatch.setattr(Progress, "commit", twice)
    with pytest.raises(BrokenPromiseError, match=r"seed 2, process \d+: 4 steps were taken in 3 rounds, 0 of nobody"):
        played(2, tmp_path, rounds=8)


@pytest.fixture
def silence():
    """Hours of warnings about bad replies would fill the memory that is kept for a failing test."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(0)  # it ends by itself
@pytest.mark.slow  # FEDREC_SOAK_MINUTES, 10 if it is not set; FEDREC_SOAK_SEED is where it begins
def test_h83_promises_hold_for_as_long_as_is_asked_for(tmp_path_factory, silence):
    minutes, first = float(os.environ.get("FEDREC_SOAK_MINUTES", "10")), int(os.environ.get("FEDREC_SOAK_SEED", "0"))
    until, runs = time.monotonic() + 60 * minutes, 0
    for run in soak(first, lambda seed: tmp_path_factory.mktemp(f"seed-{seed}"), over=lambda: time.monotonic() > until):
        runs += 1
        shutil.rmtree(run.folder)
        print(f"seed {run.seed}: {len(run.committed)} rounds, {run.lives} processes, {run.checked} checks")
    assert runs
