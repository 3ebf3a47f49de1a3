"""Counter-based random numbers."""

import math

import numpy as np

from fedrec.training.randomness import normals, uniforms, user_seeds


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


def test_normal_numbers_have_the_quantiles_and_are_uncorrelated() -> None:
    drawn = normals(user_seeds([str(n) for n in range(400)], 1), (5,), 500).astype(np.float64)
    edges = [-2.0, -1.0, 0.0, 1.0, 2.0]
    shares = np.diff([0.0, *(0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges), 1.0])
    counts = np.histogram(drawn, bins=[-np.inf, *edges, np.inf])[0]
    chi_square = ((counts - drawn.size * shares) ** 2 / (drawn.size * shares)).sum()
    assert chi_square < 20.5  # 99.9 % quantile at 5 degrees of freedom
    assert np.isfinite(drawn).all()
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.17  # 3.3 standard errors of 400 pairs


def test_a_users_normal_numbers_do_not_depend_on_how_many_are_drawn_or_for_whom() -> None:
    seeds = user_seeds([str(n) for n in range(5)], 0)
    np.testing.assert_array_equal(normals(seeds, (3,), 9)[2:3, :4], normals(seeds[2:3], (3,), 4))
