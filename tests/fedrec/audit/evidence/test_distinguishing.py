"""Scores to bounds and a verdict."""

import numpy as np
import pytest

from fedrec.audit.evidence.distinguishing import distinguished
from fedrec.audit.findings import Findings, Level

CLAIMED = 4.377178


def judged(sigma: float, *, draws: int = 20_000, gaussian: bool = True, claimed: float = CLAIMED) -> Findings:
    rng = np.random.default_rng(3)
    return distinguished(
        rng.normal(1, sigma, draws),
        rng.normal(0, sigma, draws),
        delta=1e-5,
        claimed=claimed,
        level=Level.MECHANISM,
        of="one release",
        adversary="sees the release, chooses one user's update",
        gaussian=gaussian,
    )


def test_the_declared_noise_passes_with_bounds_below_the_claim() -> None:
    found = judged(1.0)

    assert found.checks[0].verdict == "passed"
    assert [bound.claimed for bound in found.bounds] == [CLAIMED, CLAIMED]
    assert 4.0 <= (found.bounds[1].lower or 0) <= CLAIMED
    assert (found.bounds[1].judged or 0) < (found.bounds[1].lower or 0)


@pytest.mark.parametrize("sigma", [0.7, 0.1])
def test_less_noise_is_a_violation(sigma: float) -> None:
    found = judged(sigma)

    assert [check.verdict for check in found.checks] == ["violated"]
    assert found.checks[0].tests == 2


def test_a_claim_between_the_two_bounds_is_doubted_and_not_refuted() -> None:
    bound = judged(1.0).bounds[1]
    found = judged(1.0, claimed=((bound.lower or 0) + (bound.judged or 0)) / 2)

    assert [check.verdict for check in found.checks] == ["warned"]


def test_mu_contradicts_no_claim_that_is_not_of_a_gaussian() -> None:
    found = judged(0.7, gaussian=False)

    assert [len(found.bounds), found.checks[0].tests] == [1, 1]


def test_an_infinite_claim_cannot_be_broken() -> None:
    found = judged(0.01, claimed=float("inf"))

    assert found.checks[0].verdict == "passed"
    assert found.bounds[0].claimed is None
