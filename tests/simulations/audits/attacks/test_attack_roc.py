import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.audits.attacks.roc import MOST_POINTS, roc

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=40)


@settings(max_examples=30)
@given(true=scores, false=scores)
def test_the_area_is_the_share_of_pairs_in_the_right_order(true: list[int], false: list[int]) -> None:
    """The oracle counts pairs, ties as one half."""
    naive = np.mean([(t > f) + 0.5 * (t == f) for t in true for f in false])

    assert roc(np.array(true, float), np.array(false, float)).auc == pytest.approx(naive)


@settings(max_examples=30)
@given(true=scores, seed=st.integers(0, 1000), size=st.integers(100, 250))
def test_the_rate_at_few_false_ones_is_the_best_threshold_s(true: list[int], seed: int, size: int) -> None:
    false = np.random.default_rng(seed).integers(-5, 6, size)
    rates = [np.mean(np.array(true) > bar) for bar in range(-7, 7) if np.mean(false > bar) <= 0.01 + 1e-12]

    assert roc(np.array(true, float), false.astype(float)).tpr_at_1_percent == pytest.approx(max(rates))


@pytest.mark.parametrize(("negatives", "one", "tenth"), [(99, False, False), (100, True, False), (1000, True, True)])
def test_a_rate_needs_enough_false_cases(negatives: int, one: bool, tenth: bool) -> None:
    found = roc(np.ones(3), np.zeros(negatives))

    assert (found.tpr_at_1_percent is not None, found.tpr_at_01_percent is not None) == (one, tenth)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), size=st.integers(1, 3000))
def test_a_curve_is_short_and_rises_from_corner_to_corner(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    curve = np.array(roc(rng.normal(1, 1, size), rng.normal(0, 1, size)).curve)

    assert len(curve) <= MOST_POINTS
    assert (np.diff(curve, axis=0) >= 0).all()
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("true", "false", "reason"),
    [([], [1.0], "needs true and false"), ([1.0], [], "needs true and false"), ([np.nan], [1.0], "must be finite")],
)
def test_scores_that_are_no_curve_are_refused(true: list[float], false: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        roc(np.array(true), np.array(false))
