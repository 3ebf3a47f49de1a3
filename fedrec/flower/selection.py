"""Who is asked in a round: the cohort of users, drawn from the frozen roster. Knows no nodes' addresses."""

import numpy as np
from numpy.typing import NDArray

from fedrec.config import TrainingConfig
from fedrec.flower.state import Randomness
from fedrec.privacy.correlation.participation import rotation_cohort
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.sampling import poisson_cohort
from fedrec.rounds import Contribution


def select_cohort(
    number: int,
    *,
    population: int,
    contribution: Contribution,
    training: TrainingConfig,
    mechanism: Mechanism | None,
    randomness: Randomness,
    run_id: str,
    may: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Return the ascending positions of the users whom round ``number`` asks.

    ``may``: which users may be asked, None for all. Each of them is then asked with so much more probability that as
    many users are expected as without it, as far as there are so many.
    """
    if mechanism and mechanism.correlation:
        return rotation_cohort(population, mechanism.correlation.separation, number, randomness.rotation(run_id))
    rate = 1.0 if contribution is Contribution.RANKS else training.sample_rate
    cap = mechanism.cohort_cap if mechanism else None
    if may is None:
        return poisson_cohort(population, rate, randomness.cohort(number), cap)
    positions = np.flatnonzero(may).astype(np.int64)
    if not len(positions):
        return positions
    among = min(1.0, rate * population / len(positions))
    return positions[poisson_cohort(len(positions), among, randomness.cohort(number), cap)]
