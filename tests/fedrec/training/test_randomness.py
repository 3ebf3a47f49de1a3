"""Counter-based random numbers."""

import numpy as np

from fedrec.training.randomness import uniforms, user_seeds


def test_a_users_numbers_depend_on_its_key_and_the_seed_alone() -> None:
    both = user_seeds(["ann", "bob"], 7)
    assert both[1] == user_seeds(["bob"], 7)[0]
    assert both[1] != user_seeds(["bob"], 8)[0]


def test_a_row_does_not_depend_on_the_other_rows() -> None:
    seeds = user_seeds([str(n) for n in range(5)], 0)
    np.testing.assert_array_equal(uniforms(seeds, (3, 1), 9)[2:3], uniforms(seeds[2:3], (3, 1), 9))


def test_streams_do_not_repeat_each_other() -> None:
    seeds = user_seeds(["ann"], 0)
    drawn = [tuple(uniforms(seeds, stream, 4)[0]) for stream in [(0, 0), (0, 1), (1, 0), (1, 1), (0,)]]
    assert len(set(drawn)) == len(drawn)


def test_numbers_are_uniform_and_uncorrelated() -> None:
    drawn = uniforms(user_seeds([str(n) for n in range(400)], 1), (5,), 500).astype(np.float64)
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    chi_square = ((counts - drawn.size / 20) ** 2 / (drawn.size / 20)).sum()
    assert chi_square < 43.8  # 99.9 % quantile at 19 degrees of freedom
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.17  # 3.3 standard errors of 400 pairs
