"""Going back to an earlier round: a new state from an earlier checkpoint, and a ledger that keeps everything."""

import pytest
import torch

from fedrec.errors import ConfigError, DataError
from fedrec.flower.terms import Hooks
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from server.checkpoint import Checkpoints, read_checkpoint
from server.operations.rolling_back import roll_back, rounds_on_disk

ROUNDS = "training.rounds=4"
PRIVATE = (ROUNDS, "privacy.enabled=true", "privacy.epsilon=50", "training.sample_rate=1.0")
SECRET = (*PRIVATE, "privacy.noise_seed=none")


def played(bench, *settings, until=3):
    """Train to a round and keep the settings as a run's folder does; return that folder and its last state."""
    hooks = Hooks(should_stop=lambda report, state: state.round == until)
    outcome = bench.train(*settings, hooks=hooks)
    RunFolder(bench.folder).write_scenario(bench.federation(*settings).scenario)
    return bench.folder, outcome.state


def test_a_run_goes_on_from_the_round_that_it_was_taken_back_to(bench):
    folder, last = played(bench, ROUNDS)
    assert last.round == 3
    kept, _ = read_checkpoint(folder / "checkpoints" / "round-000002.safetensors")
    assert roll_back(folder, 2) == 3
    assert rounds_on_disk(folder) == [1, 2]
    state, _ = read_checkpoint(folder / "checkpoints" / "round-000002.safetensors")
    assert (state.round, state.abandoned) == (2, kept.abandoned + 1)
    assert all(torch.equal(state.shared[name], tensor) for name, tensor in kept.shared.items())
    went_on = bench.train(ROUNDS).state
    assert went_on.round == 4
    third, _ = read_checkpoint(folder / "checkpoints" / "round-000003.safetensors")
    assert any(not torch.equal(third.shared[name], tensor) for name, tensor in last.shared.items())  # another cohort
    with pytest.raises(ConfigError, match="cannot go back to round 9: it can to 2, 3"):
        roll_back(folder, 9)


def test_what_was_released_stays_paid_for_and_what_is_released_again_is_paid_again(bench):
    folder, _ = played(bench, *SECRET)
    before = Ledger(folder / "ledger.jsonl").charges()
    roll_back(folder, 1)
    outcome = bench.train(*SECRET)
    charges = Ledger(folder / "ledger.jsonl").charges()
    assert charges[: len(before)] == before
    assert [charge.round for charge in charges] == [0, 1, 2, 3, 2]
    assert [charge.epsilon for charge in charges] == sorted(charge.epsilon for charge in charges)
    assert charges[-1].epsilon <= 50.0
    assert (outcome.stopped, outcome.state.round) == ("budget", 2)


@pytest.mark.fault
def test_noise_from_a_seed_is_not_drawn_for_a_round_twice(bench):
    folder, _ = played(bench, *PRIVATE, "privacy.noise_seed=9")
    with pytest.raises(ConfigError, match="comes from a seed"):
        roll_back(folder, 1)
    assert rounds_on_disk(folder) == [1, 2, 3]


@pytest.mark.fault
def test_a_run_that_a_server_app_has_is_not_taken_back(bench):
    folder, _ = played(bench, ROUNDS)
    with (
        Checkpoints(folder / "checkpoints", "").locked(),
        pytest.raises(DataError, match=r"is written by process \d+"),
    ):
        roll_back(folder, 1)
