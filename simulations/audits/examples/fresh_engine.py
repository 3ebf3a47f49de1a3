"""A fresh Opacus ``PrivacyEngine`` in every round: the epsilon that is read off is that of one round.

Wrong: a client function that makes model, optimizer and loader private whenever it is called, as Flower's own Opacus
example does, has an accountant that starts at nothing each time. With noise 1, a batch rate of 0.2 and 5 steps a round,
20 rounds claim 3.89 and spend 14.54 (``claimed_epsilon``). The code here takes one step a round with everybody in the
batch, so that the truth is known exactly: noise ``sigma`` and ``T`` rounds are ``sqrt(T)/sigma``-GDP. Mended: the noise
is that for all rounds; the engine would have to be kept, or its accountant's state stored with the user's.

Audit: ``fedrec audit function simulations.audits.examples.fresh_engine:WRONG --claim 4.38,1e-5,1000,1 --rounds 8``. The
unit is one record of the client, not one user. What is audited are numbers that equal those of Opacus
(``same_round``); ``WRONG_WITH_OPACUS`` takes them from Opacus itself and some minutes.
"""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from opacus.accountants import PRVAccountant
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from simulations.audits.function.subject import Arrays, Training

NOISE_MULTIPLIER = 1.0
"""Epsilon 4.38 at delta 1e-5 in one round."""

ROUNDS = 8
DIM = 4

Record = NDArray[np.float64]


def train_round(records: Sequence[Record], noise_multiplier: float, seed: int) -> Arrays:
    """Return what one round adds to the model: private training as a client function writes it, with its own engine."""
    model = nn.Linear(DIM, 1, bias=False)
    nn.init.zeros_(model.weight)  # the broadcast model
    data = TensorDataset(torch.tensor(np.stack(records), dtype=torch.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus says that its noise is not of a cryptographic generator
        private, optimizer, loader = PrivacyEngine().make_private(
            module=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
            data_loader=DataLoader(data, batch_size=len(records)),
            noise_multiplier=noise_multiplier,
            max_grad_norm=1.0,
            loss_reduction="sum",
            noise_generator=torch.Generator().manual_seed(seed),
        )
        for (batch,) in loader:
            private(batch).sum().backward()
            optimizer.step()
    return {"weight": model.weight.detach().numpy().copy()}


def same_round(records: Sequence[Record], noise_multiplier: float, seed: int) -> Arrays:
    """Return what ``train_round`` returns, number for number, a hundred times as fast: for audits of many runs."""
    noise = noise_multiplier * torch.normal(0.0, 1.0, (1, DIM), generator=torch.Generator().manual_seed(seed))
    total = sum(record * min(1.0, 1 / max(float(np.linalg.norm(record)), 1e-12)) for record in records)
    return {"weight": -(np.asarray(total)[None, :] + noise.numpy())}


def claimed_epsilon(*, rounds: int, steps: int, sample_rate: float, noise_multiplier: float, delta: float) -> float:
    """Return what the accountant of an engine says that was kept for so many rounds; 1: a fresh one."""
    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps * rounds)]
    return float(accountant.get_epsilon(delta))


def _training(train: Callable[[Sequence[Record], float, int], Arrays], noise_multiplier: float) -> Training:
    def release(records: Sequence[Record], rng: np.random.Generator) -> Arrays:
        return train(records, noise_multiplier, int(rng.integers(2**31)))

    start = np.random.default_rng(0)
    return Training(
        release=release,
        users=list(start.normal(0, 0.2, (5, DIM))),
        crafted={"a record of ten clip norms": np.array([10.0, 0, 0, 0]), "a record of zeros": np.zeros(DIM)},
    )


WRONG = _training(same_round, NOISE_MULTIPLIER)
MENDED = _training(same_round, NOISE_MULTIPLIER * math.sqrt(ROUNDS))
WRONG_WITH_OPACUS = _training(train_round, NOISE_MULTIPLIER)
"""The same by Opacus itself, at a hundredth of a second a round."""
