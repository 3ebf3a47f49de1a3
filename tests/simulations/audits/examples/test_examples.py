"""Each published mistake is caught, its mended twin passes, and what is quick is the same as what is real."""

import math
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from fedrec.audit.evidence.noise_tests import noise_checks
from fedrec.audit.findings import Findings
from simulations.audits.examples import adaptive_clipping, fresh_engine, in_batch_negatives, tied_table
from simulations.audits.function.audit import function_findings
from simulations.audits.function.subject import Claim, Training

EPSILON = 4.377179  # noise 1 at delta 1e-5


def audited(subject: Training, *, draws: int, rounds: int = 1, seed: int = 0) -> Findings:
    claim = Claim(epsilon=EPSILON, delta=1e-5, population=1000, rounds=rounds)
    return function_findings(subject, claim, seed=seed, draws=draws)


def violated(findings: Findings) -> set[str]:
    return {check.name for check in findings.violations}


BOTH = {"function-sensitivity", "function-distinguishing"}
CASES = [
    pytest.param(in_batch_negatives.WRONG, in_batch_negatives.MENDED, 120, 1, BOTH, id="in-batch negatives"),
    pytest.param(tied_table.WRONG, tied_table.MENDED, 400, 1, BOTH, id="ghost clipping of a tied table"),
    pytest.param(
        fresh_engine.WRONG,
        fresh_engine.MENDED,
        100,
        fresh_engine.ROUNDS,
        {"function-distinguishing"},
        id="a fresh engine in every round",
    ),
    pytest.param(
        adaptive_clipping.WRONG,
        adaptive_clipping.MENDED,
        350,
        1,
        {"function-distinguishing"},
        id="Flower's adaptive clipping",
    ),
]


@pytest.mark.parametrize(("wrong", "mended", "draws", "rounds", "names"), CASES)
def test_the_mistake_is_caught_and_its_mended_twin_passes(
    wrong: Training, mended: Training, draws: int, rounds: int, names: set[str]
) -> None:
    assert violated(audited(wrong, draws=draws, rounds=rounds)) == names
    assert violated(audited(mended, draws=draws, rounds=rounds)) == set()


def test_in_batch_negatives_move_the_sum_by_several_clip_norms() -> None:
    found = audited(in_batch_negatives.WRONG, draws=50).checks[0]

    assert (found.figures["largest"] or 0) > 2.5 * in_batch_negatives.CLIP_NORM


# --- Opacus -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_the_quick_round_is_that_of_opacus_number_for_number(seed: int) -> None:
    records = list(np.random.default_rng(seed).normal(0, 2, (5, fresh_engine.DIM)))

    real, quick = (train(records, 1.5, seed)["weight"] for train in (fresh_engine.train_round, fresh_engine.same_round))

    assert quick == pytest.approx(real, rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_a_real_engine_in_every_round_is_caught() -> None:
    assert violated(audited(fresh_engine.WRONG_WITH_OPACUS, draws=130, rounds=fresh_engine.ROUNDS)) == {
        "function-distinguishing"
    }


@pytest.mark.parametrize(("rounds", "epsilon"), [(1, 3.89), (20, 14.54)])
def test_a_fresh_engine_reports_the_epsilon_of_one_round(rounds: int, epsilon: float) -> None:
    found = fresh_engine.claimed_epsilon(rounds=rounds, steps=5, sample_rate=0.2, noise_multiplier=1.0, delta=1e-5)

    assert found == pytest.approx(epsilon, abs=0.02)


# --- Flower -------------------------------------------------------------------------------------------------------
class Reply:
    """What Flower's strategy reads of a message."""

    def __init__(self, update: np.ndarray) -> None:
        arrays = ArrayRecord({"model": Array(update)})
        self.content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})})
        self.metadata = None

    def has_error(self) -> bool:
        return False


def test_the_quick_rounds_are_those_of_flower_number_for_number() -> None:
    updates = [np.ones(adaptive_clipping.DIM) * size for size in (0.001, 0.01, 0.3, 1, 2, 3, 4, 5, 6, 7, 8, 9)]
    quick, real = adaptive_clipping.AsInstalled(), adaptive_clipping.AsInstalled().strategy
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(3):
        found = quick(updates, rng)

        np.random.seed(again.integers(2**32))
        real.current_arrays = ArrayRecord({"model": Array(np.zeros(adaptive_clipping.DIM))})
        replies: Any = [Reply(update) for update in updates]
        arrays, _ = real.aggregate_train(1, replies)

        assert arrays is not None
        assert found["model"] == pytest.approx(arrays.to_numpy_ndarrays()[0])
        assert found["log_clip_norm"][0] == pytest.approx(math.log(real.clipping_norm))


def test_the_noise_of_flower_is_a_tenth_smaller_than_the_norm_that_clipped_asks_for() -> None:
    users, rng = [*adaptive_clipping.WRONG.users, np.eye(adaptive_clipping.DIM)[0]], np.random.default_rng(0)
    mean = sum(user * adaptive_clipping.CLIP_NORM for user in users) / len(users)
    noise = np.stack([adaptive_clipping.AsInstalled()(users, rng)["model"] - mean for _ in range(1200)])
    strategy = adaptive_clipping.AsInstalled().strategy
    declared = strategy.noise_multiplier * adaptive_clipping.CLIP_NORM / adaptive_clipping.COHORT

    found = noise_checks({"model": noise}, {"model": declared})[0]

    assert found.verdict == "violated"
    assert found.figures["std_ratio"] == pytest.approx(math.exp(-0.2 * 0.5), abs=0.02)


@pytest.mark.parametrize(("sizes", "mu"), [(12, 1.775), (100, 1.12)])
def test_what_flower_spends_is_what_its_docstring_says(sizes: int, mu: float) -> None:
    count_std, shrunk = sizes / 20, math.exp(-0.1)
    noise = (1 - (2 * count_std) ** -2) ** -0.5

    assert math.hypot(1 / (noise * shrunk), 1 / count_std) == pytest.approx(mu, abs=0.005)


@pytest.mark.parametrize(("start", "runs_away"), [(0.1, lambda norm: norm < 0.001), (2.0, lambda norm: norm > 100)])
def test_the_norm_of_flower_runs_away_from_the_median_of_one(start: float, runs_away: Any) -> None:
    rounds, rng = adaptive_clipping.AsInstalled(), np.random.default_rng(0)
    rounds.strategy.clipping_norm = start
    sizes = np.linspace(0.8, 1.2, adaptive_clipping.COHORT)
    for _ in range(60):
        rounds([np.eye(adaptive_clipping.DIM)[0] * size for size in sizes], rng)

    assert runs_away(rounds.strategy.clipping_norm)
