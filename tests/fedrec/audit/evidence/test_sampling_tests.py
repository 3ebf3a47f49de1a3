"""Tests of sampling: Poisson samples pass, and what is done in their place fails."""

from collections.abc import Callable

import numpy as np
import pytest

from fedrec.audit.evidence.sampling_tests import sampling_checks
from fedrec.privacy.sampling import poisson_cohort

ROUNDS, USERS, RATE = 80, 200, 0.1


def drawn(seed: int, rounds: int = ROUNDS, users: int = USERS, rate: float = RATE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    who = np.zeros((rounds, users), dtype=bool)
    for cohort in who:
        cohort[poisson_cohort(users, rate, rng)] = True
    return who


def violated(who: np.ndarray, rate: float = RATE) -> set[str]:
    return {check.name for check in sampling_checks(who, rate) if check.verdict == "violated"}


def passes(seed: int) -> bool:
    rng = np.random.default_rng(seed)
    rounds, users, rate = int(rng.integers(1, 60)), int(rng.integers(1, 100)), float(rng.uniform(0.01, 0.9))
    return not violated(drawn(seed, rounds, users, rate), rate)


def test_poisson_samples_of_any_size_and_rate_pass() -> None:
    assert all(passes(seed) for seed in range(15))


@pytest.mark.slow
def test_poisson_samples_of_any_size_and_rate_pass_a_thousand_times() -> None:
    assert all(passes(seed) for seed in range(1000))


def shuffled(rng: np.random.Generator) -> np.ndarray:
    who = np.zeros((ROUNDS, USERS), dtype=bool)
    for epoch in range(ROUNDS // 10):
        for batch, members in enumerate(np.array_split(rng.permutation(USERS), 10)):
            who[10 * epoch + batch, members] = True
    return who


def fixed_size(rng: np.random.Generator) -> np.ndarray:
    who = np.zeros((ROUNDS, USERS), dtype=bool)
    for cohort in who:
        cohort[rng.choice(USERS, 20, replace=False)] = True
    return who


def in_turns(rng: np.random.Generator) -> np.ndarray:
    return (np.arange(USERS) // 20)[None, :] == (np.arange(ROUNDS) % 10)[:, None]


def every_cohort_twice(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.random((ROUNDS // 2, USERS)) < RATE, 2, axis=0)


def in_families(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.random((ROUNDS, USERS // 4)) < RATE, 4, axis=1)


def one_always(rng: np.random.Generator) -> np.ndarray:
    who = rng.random((ROUNDS, USERS)) < RATE
    who[:, 17] = True
    return who


def too_often(rng: np.random.Generator) -> np.ndarray:
    return rng.random((ROUNDS, USERS)) < 1.3 * RATE


WRONG: list[tuple[Callable[[np.random.Generator], np.ndarray], str]] = [
    (shuffled, "sampling-turns"),
    (fixed_size, "sampling-cohort-sizes"),
    (in_turns, "sampling-rounds"),
    (every_cohort_twice, "sampling-rounds"),
    (in_families, "sampling-together"),
    (one_always, "sampling-turns"),
    (too_often, "sampling-cohort-sizes"),
]


@pytest.mark.parametrize(("wrong", "name"), WRONG, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("seed", range(2))
def test_what_is_no_poisson_sample_is_found(
    wrong: Callable[[np.random.Generator], np.ndarray], name: str, seed: int
) -> None:
    assert name in violated(wrong(np.random.default_rng(seed)))


def test_a_rate_of_one_claims_nothing_of_sampling() -> None:
    assert {check.verdict for check in sampling_checks(np.ones((3, 4), dtype=bool), 1.0)} == {"not run"}


@pytest.mark.parametrize(("who", "rate"), [(np.zeros((0, 4), dtype=bool), 0.5), (np.zeros((2, 2), dtype=bool), 0.0)])
def test_what_cannot_be_tested_is_refused(who: np.ndarray, rate: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        sampling_checks(who, rate)
