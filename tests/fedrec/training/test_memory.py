"""The memory that local training takes: chunks that fit the budget, and what one user needs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.errors import MemoryBudgetError
from fedrec.models import build_model
from fedrec.training.memory import MAX_USERS, MIB, bytes_per_user, chunks, fitting, least_memory_mib

CONFIG = ModelConfig(dim=64, history_length=50)


@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=600),
    memory_mib=st.integers(1, 64),
    local=st.sampled_from([LocalConfig(), LocalConfig(loss="bce", epochs=1), LocalConfig(steps=3)]),
    clipped=st.booleans(),
)
def test_chunks_hold_every_user_once_and_fit_the_budget(
    lengths: list[int], memory_mib: int, local: LocalConfig, clipped: bool
) -> None:
    model = build_model(CONFIG, _CATALOGUE, 0)
    counts = np.array(lengths, dtype=np.int64)
    if least_memory_mib(model, local, counts, clipped) > memory_mib:
        with pytest.raises(MemoryBudgetError):
            list(chunks(model, local, counts, clipped, memory_mib))
        return
    found = list(chunks(model, local, counts, clipped, memory_mib))
    assert sorted(np.concatenate([*found, np.empty(0, np.int64)]).tolist()) == list(range(len(counts)))
    for users in found:
        need = bytes_per_user(model, local, int(counts[users].max()), clipped)
        assert len(users) <= MAX_USERS
        assert len(users) * need <= memory_mib * MIB


def test_a_budget_below_one_user_is_refused_with_the_budget_that_would_do(catalogue: Catalogue) -> None:
    model, local = build_model(CONFIG, catalogue, 0), LocalConfig(loss="bpr", num_negatives=5000, steps=50)
    lengths = np.array([60])
    with pytest.raises(MemoryBudgetError, match=r"run\.memory_mib=1 is too small for one user") as refusal:
        list(chunks(model, local, lengths, True, 1))
    assert refusal.value.needed_mib == least_memory_mib(model, local, lengths, True) > 1
    assert len(list(chunks(model, local, lengths, True, refusal.value.needed_mib))) == 1


def test_users_fit_one_by_one_and_whether_any_could_depends_on_nobody(catalogue: Catalogue) -> None:
    model, local = build_model(CONFIG, catalogue, 0), LocalConfig(loss="bpr", num_negatives=500, epochs=1)
    lengths = np.array([3, 40_000, 0, 12, 90_000])
    for memory_mib in (least_memory_mib(model, local, np.array([length]), True) for length in (12, 40_000, 90_000)):
        alone = [least_memory_mib(model, local, np.array([length]), True) <= memory_mib for length in lengths]
        assert fitting(model, local, lengths, memory_mib).tolist() == alone
    heavy = LocalConfig(loss="bpr", num_negatives=5000, steps=50)
    for people in (lengths, np.array([0]), np.empty(0, np.int64)):
        with pytest.raises(MemoryBudgetError, match=r"run\.memory_mib=1 is too small for one user"):
            fitting(model, heavy, people, 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux' /proc")
def test_training_stays_within_its_budget() -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True, timeout=240)
    for row in json.loads(done.stdout.splitlines()[-1]):
        # The allocator keeps some of what is given back, so that a little more than the budget is no surprise.
        assert row["peak_mib"] <= 1.25 * row["budget_mib"] + 16, row


_CATALOGUE = Catalogue(
    item_ids=tuple(f"i{n}" for n in range(40)),
    titles=tuple(f"Item {n}" for n in range(40)),
    features=np.eye(40, 3, dtype=np.float32),
    feature_names=("x", "y", "z"),
)

_MEASURE = """
import json
import numpy as np, torch
from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.models.fusion import FusedRecommender
from fedrec.privacy.mechanism import Mechanism
from fedrec.training.cohort import train_cohort
from fedrec.training.private_start import initial_private

def status(field):
    line = next(line for line in open("/proc/self/status") if line.startswith(field))
    return int(line.split()[1]) / 1024

torch.set_num_threads(1)
rng = np.random.default_rng(0)
users, items, budget = 120, 2000, 64
features = torch.from_numpy(rng.integers(0, 2, (items, 8)).astype(np.float32))
histories = Histories.from_lists([rng.integers(0, items, 60) for _ in range(users)])
seeds = np.arange(users, dtype=np.uint64)
clip = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=users)
mf = ModelConfig(branches=("mf",))
attentive = ModelConfig(branches=("seq",), sequence_encoder="sasrec", sequence_heads=16, sequence_blocks=3)
cases = [
    (ModelConfig(), LocalConfig(), clip), (ModelConfig(), LocalConfig(), None),
    (ModelConfig(), LocalConfig(loss="bce"), clip), (ModelConfig(), LocalConfig(steps=2), clip),
    (mf, LocalConfig(loss="bce", steps=2), clip), (mf, LocalConfig(), clip),
    (ModelConfig(branches=("neumf",)), LocalConfig(), None), (ModelConfig(branches=("siamese",)), LocalConfig(), clip),
    (ModelConfig(branches=("autoencoder",)), LocalConfig(steps=2, optimizer="adam"), clip),
    (attentive, LocalConfig(), clip), (attentive, LocalConfig(loss="bce"), clip),
]
rows = []
for config, local, mechanism in cases:
    model = FusedRecommender(config, features)
    shared, private = model.shared_state(), initial_private(model, users, local)
    some = users if {"cf", "mf"} & set(config.branches) else 24  # the others take several times as long
    for few in (np.arange(2), np.arange(some)):
        part = {name: value[few] for name, value in private.items()}
        open("/proc/self/clear_refs", "w").write("5")
        before = status("VmRSS")
        train_cohort(model, shared, part, histories.take(few), seeds[few], 0, local, mechanism, budget)
    rows.append({"case": str((config.branches, local.loss, local.steps)), "budget_mib": budget,
                 "peak_mib": status("VmHWM") - before})
print(json.dumps(rows))
"""
