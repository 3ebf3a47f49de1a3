"""Flower's adaptive clipping (1.41): the noise is for another bound than the one that clipped, and the bound runs away.

Wrong, in ``DifferentialPrivacyServerSideAdaptiveClipping.aggregate_train``, whose parts are called here as they are
installed and in its order, with the noise multiplier that Andrew et al. (2021, theorem 1) take for the claim:

1. The norm is adapted **before** the noise is added, so updates are clipped to one norm and the noise is for the next.
   Whenever the norm falls, in the default settings by up to a tenth a round, the noise is too small by as much.
2. It falls when it should rise: the share of **clipped** updates is taken for the share within the norm, which inverts
   the sign. A norm that is too small therefore falls in every round (0.1 went to 0.00024 in 60 rounds, where the median
   update was 1.0), and one that is too large grows without bound (2.0 went to 339).
3. The counted bit is 0 or 1 and its noise is for a bit of -1/2 or 1/2, half as far from nothing.

With Flower's defaults and 12 users who are all clipped, the count alone is 1.67-GDP and the model 0.61-GDP, together
1.78-GDP where 1-GDP is claimed; with 100 users it is still 1.12, most of it from 1. (And an update of zeros stops the
round: its norm is divided by.)

Mended: Algorithm 1 of the paper; noise for the norm that clipped, the bit less one half, the sign put right.

Adjacency: one user's update is replaced by nothing; the size of the cohort is public. Flower divides by the replies
that came and weighs them by their number of examples, which is not looked at here.

Audit: ``fedrec audit function simulations.audits.examples.adaptive_clipping:WRONG --claim 4.38,1e-5,1000,1``.
"""

import math
from collections.abc import Sequence

import numpy as np
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAvg
from flwr.supercore.differential_privacy import adaptive_clip_inputs_inplace, add_gaussian_noise_inplace, compute_stdv
from numpy.typing import NDArray

from simulations.audits.function.subject import Arrays, Release, Training

NOISE_MULTIPLIER = 1.0
"""Of the whole release, norm and count together: epsilon 4.38 at delta 1e-5."""

COHORT = 12
CLIP_NORM = 0.1
COUNT_STD = COHORT / 20
"""Flower's default."""
DIM = 8

NOTHING = np.full(DIM, 1e-12)
"""The update of a user who is not there: as near to zeros as Flower takes."""

Update = NDArray[np.float64]


class AsInstalled:
    """The rounds of Flower's strategy, number for number, without its messages, which take most of its time."""

    def __init__(self) -> None:
        self.strategy = DifferentialPrivacyServerSideAdaptiveClipping(
            FedAvg(),
            noise_multiplier=NOISE_MULTIPLIER,
            num_sampled_clients=COHORT,
            initial_clipping_norm=CLIP_NORM,
        )

    def __call__(self, updates: Sequence[Update], rng: np.random.Generator) -> Arrays:
        """Return the noisy mean of a round, and the clip norm that the next one is told."""
        np.random.seed(rng.integers(2**32))  # Flower draws from numpy's global generator
        strategy = self.strategy
        clipped = [[update.copy()] for update in updates]
        count = sum(int(adaptive_clip_inputs_inplace(update, strategy.clipping_norm)) for update in clipped)
        strategy._geometric_update(strategy._noisy_fraction(count, len(updates)))
        mean = [np.mean([update[0] for update in clipped], axis=0)]
        add_gaussian_noise_inplace(
            mean, compute_stdv(strategy.noise_multiplier, strategy.clipping_norm, strategy.num_sampled_clients)
        )
        return {"model": mean[0], "log_clip_norm": np.array([math.log(strategy.clipping_norm)])}


class Mended:
    """Andrew et al. (2021), algorithm 1."""

    def __init__(self) -> None:
        self.clip_norm = CLIP_NORM
        self.noise = (NOISE_MULTIPLIER**-2 - (2 * COUNT_STD) ** -2) ** -0.5

    def __call__(self, updates: Sequence[Update], rng: np.random.Generator) -> Arrays:
        """Return the noisy mean of a round, and the clip norm that the next one is told."""
        norm = self.clip_norm
        norms = [float(np.linalg.norm(update)) for update in updates]
        total = sum(update * min(1.0, norm / max(size, 1e-12)) for update, size in zip(updates, norms, strict=True))
        mean = (total + rng.normal(0, self.noise * norm, DIM)) / COHORT
        # A user who is not there counts nothing, one who is a half more or less.
        within = sum((size <= norm) - 0.5 for size in norms if size > 1e-9) + rng.normal(0, COUNT_STD)
        self.clip_norm *= math.exp(-0.2 * (within / COHORT))
        return {"model": np.asarray(mean), "log_clip_norm": np.array([math.log(self.clip_norm)])}


def _training(new: type[AsInstalled] | type[Mended]) -> Training:
    start = np.random.default_rng(0)

    def anew() -> Release:
        return new()

    return Training(
        release=anew(),
        new=anew,
        users=[update / np.linalg.norm(update) for update in start.normal(0, 1, (COHORT - 1, DIM))],
        crafted={
            "an update of norm 100": np.eye(DIM)[0] * 100,
            "an update within the norm": np.eye(DIM)[0] * CLIP_NORM,
        },
        nothing=NOTHING,
    )


WRONG = _training(AsInstalled)
MENDED = _training(Mended)
