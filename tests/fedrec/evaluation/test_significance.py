from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedrec.evaluation.significance import detectable_difference, holm, sign_flip_p, spread


def test_the_p_of_few_users_is_the_share_of_all_flips_that_are_as_extreme(rng):
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.5, -0.2, 0.1, 0.6])
    flips = np.array(list(product([-1, 1], repeat=8))) @ differences
    exact = np.mean(np.abs(flips) >= abs(differences.sum()) - 1e-12)

    (found,) = sign_flip_p(differences[:, None], 40_000, rng)

    assert found == pytest.approx(exact, abs=0.005)


def test_p_agrees_with_scipy_s_permutation_test(rng):
    differences = rng.normal(0.15, 1, 100)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=4000, rng=np.random.default_rng(1)
    ).pvalue

    (found,) = sign_flip_p(differences[:, None], 4000, rng)

    assert found == pytest.approx(theirs, abs=0.03)


def test_without_a_difference_p_is_one(rng):
    assert sign_flip_p(np.zeros((50, 2)), 200, rng).tolist() == [1.0, 1.0]


def test_a_difference_that_all_users_share_has_the_smallest_p_that_can_be(rng):
    assert sign_flip_p(np.full((60, 1), 0.1), 999, rng)[0] == pytest.approx(1 / 1000)


def test_under_the_null_p_is_below_the_level_as_often_as_the_level_says(rng):
    found = [sign_flip_p(rng.normal(size=(40, 1)), 199, rng)[0] for _ in range(400)]

    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.045)


def test_no_users_are_refused(rng):
    with pytest.raises(ValueError, match="of some users"):
        sign_flip_p(np.empty((0, 1)), 10, rng)


def test_holm_is_the_textbook_s_step_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p):
    adjusted = holm(p)

    assert all(own <= new <= min(1.0, own * len(p)) + 1e-12 or new == 1.0 for own, new in zip(p, adjusted, strict=True))
    order = np.argsort(p, kind="stable")
    assert bool(np.all(np.diff(np.array(adjusted)[order]) >= 0))


def test_a_true_difference_of_the_detectable_size_is_found_four_times_in_five(rng):
    size = detectable_difference(rng.normal(0, 1, 200))

    found = [abs(x.mean()) > 1.96 * x.std(ddof=1) / np.sqrt(200) for x in rng.normal(size, 1, (1500, 200))]

    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


def test_one_user_can_show_nothing():
    assert detectable_difference(np.array([0.2])) == float("inf")


def test_seeds_and_users_are_told_apart():
    users, seeds = np.linspace(0, 1, 101), np.array([-0.02, 0.0, 0.02])

    found = spread(users[None] + seeds[:, None])

    assert found.mean == pytest.approx(0.5)
    assert found.seed_deviation == pytest.approx(0.02)
    assert found.user_error == pytest.approx(users.std(ddof=1) / np.sqrt(101))


def test_one_seed_says_nothing_of_seeds():
    assert spread(np.ones((1, 4))).seed_deviation is None
