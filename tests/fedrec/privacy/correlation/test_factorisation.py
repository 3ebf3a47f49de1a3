import math
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.privacy.correlation import tree as tree_noise
from fedrec.privacy.correlation.factorisation import (
    Factorisation,
    best_patterns,
    certificate,
    column_sum,
    factorise,
)
from tests.fedrec.privacy.correlation.patterns import patterns


def plain_error(encoder: np.ndarray) -> float:
    """The definition: every running sum's variance, one after the other."""
    inverse = np.linalg.inv(encoder)
    return sum(float(np.sum(inverse[: t + 1].sum(0) ** 2)) for t in range(len(encoder)))


def sensitivity_bound(encoder: np.ndarray, separation: int, participations: int) -> float:
    """Return an upper bound on the sensitivity of any encoder, ``[R, T]``, to such a pattern, in clip norms.

    With contributions ``x_i`` of norm at most 1, ``|sum_i C_i x_i|^2 <= sum_ij |<C_i, C_j>|`` over the pattern, and
    that is at most the best pattern of rows' best patterns (Choquette-Choo et al., 2023). It is exact for
    columns that are orthogonal where they may meet.
    """
    gram = np.abs(encoder.T @ encoder)
    meets = np.abs(np.subtract.outer(np.arange(len(gram)), np.arange(len(gram)))) >= separation
    np.fill_diagonal(meets, True)
    rows = best_patterns(np.where(meets, gram, 0.0), separation, participations)
    return math.sqrt(column_sum(rows, separation, participations))


@pytest.mark.parametrize(("rounds", "width"), [(1, 1), (12, 4), (30, 7), (9, 9)])
def test_the_encoder_is_lower_triangular_with_so_many_bands_and_its_error_is_that_of_running_sums(rounds, width):
    found = factorise(rounds, width)
    encoder = found.encoder()
    rows, columns = np.nonzero(encoder)
    assert np.all((rows >= columns) & (rows - columns < width))
    assert found.squared_error() == pytest.approx(plain_error(encoder), rel=1e-9)
    assert (found.rounds, found.width, found.participations) == (rounds, width, -(-rounds // width))


@pytest.mark.parametrize(("rounds", "width"), [(40, 1), (50, 7), (64, 16), (60, 60), (120, 12), (101, 10)])
def test_no_encoder_of_as_many_bands_is_better_by_more_than_a_few_percent(rounds, width):
    found = factorise(rounds, width)
    assert certificate(found) <= found.squared_error() <= 1.03 * certificate(found)


def test_with_one_band_it_is_independent_noise_whose_strength_follows_the_root_of_what_is_to_come():
    """Minimise ``sum_j j/d_j`` for ``sum_j d_j = T``, j rounds left: Cauchy and Schwarz."""
    best = np.sum(np.sqrt(np.arange(1, 21))) ** 2 / 20
    assert factorise(20, 1).squared_error() == pytest.approx(best, rel=1e-4)
    assert factorise(20, 1, equal_norms=True).squared_error() == pytest.approx(20 * 21 / 2)


def test_norms_that_fall_are_better_than_equal_ones():
    equal, falling = factorise(60, 6, equal_norms=True), factorise(60, 6)
    np.testing.assert_allclose(np.sum(equal.bands**2, axis=0), 1)
    assert falling.squared_error() < 0.95 * equal.squared_error()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_certificate_is_below_every_encoder_of_as_many_bands(rounds, width, seed):
    width, rng = min(width, rounds), np.random.default_rng(seed)
    filled = np.arange(width)[:, None] + np.arange(rounds) < rounds
    bands = np.where(filled, rng.normal(0, 0.4, (width, rounds)), 0)
    bands[0] = rng.uniform(0.5, 2, rounds)
    met = column_sum(np.sum(bands**2, axis=0), width, rounds)
    any_encoder = Factorisation(bands=bands * np.sqrt(-(-rounds // width) / met))
    least = certificate(factorise(rounds, width))
    assert least <= any_encoder.squared_error() * (1 + 1e-9)
    assert certificate(any_encoder) <= factorise(rounds, width).squared_error() * (1 + 1e-9)


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1)
)
@settings(max_examples=60)
def test_the_best_pattern_is_that_of_brute_force(squares, separation, participations, seed):
    weights = np.array([squares, np.random.default_rng(seed).permutation(squares)])
    found = best_patterns(weights, separation, participations)
    for row, best in zip(weights, found, strict=True):
        brute = max(row[chosen].sum() for chosen in patterns(len(row), separation, participations))
        assert best == pytest.approx(brute)
    assert column_sum(weights[0], separation, participations) == pytest.approx(found[0])


@pytest.mark.parametrize(("rounds", "separation"), [(8, 2), (9, 3), (10, 4), (7, 7)])
def test_the_sensitivity_of_a_banded_encoder_is_exact(rounds, separation):
    """However contributions are chosen: the columns that one user meets are orthogonal."""
    found, rng = factorise(rounds, separation), np.random.default_rng(0)
    encoder, met = found.encoder(), 0.0
    for chosen in patterns(rounds, separation, found.participations):
        directions = rng.normal(size=(len(chosen), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        for signs in product((1, -1), repeat=len(chosen)):
            moved = encoder[:, chosen] @ (np.array(signs)[:, None] * directions)
            met = max(met, float(np.linalg.norm(moved)))
    assert met == pytest.approx(found.participations**0.5, rel=1e-9)
    bound = sensitivity_bound(encoder, separation, found.participations)
    assert bound == pytest.approx(found.participations**0.5, rel=1e-9)


@pytest.mark.parametrize(("separation", "participations"), [(1, 3), (2, 2), (3, 3), (2, 9)])
@pytest.mark.parametrize("which", ["tree", "bands-that-overlap", "anything"])
def test_no_user_moves_any_encoder_by_more_than_the_bound(separation, participations, which):
    rng = np.random.default_rng(1)
    encoders = {
        "tree": tree_noise.encoder(8),
        "bands-that-overlap": factorise(8, 5).encoder(),
        "anything": rng.normal(size=(8, 8)),
    }
    encoder = encoders[which]
    bound = sensitivity_bound(encoder, separation, participations)
    for chosen in patterns(8, separation, participations):
        moved = max(
            float(np.linalg.norm(encoder[:, chosen] @ np.array(signs)))
            for signs in product((1, -1), repeat=len(chosen))
        )
        assert moved <= bound * (1 + 1e-12)


@pytest.mark.parametrize(("rounds", "width"), [(5, 0), (5, 6), (0, 0)])
def test_more_bands_than_rounds_are_refused(rounds, width):
    with pytest.raises(ValueError, match="width must be"):
        factorise(rounds, width)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        (np.ones((2, 3)), "beyond the last round"),
        (np.array([[1.0, 0.0]]), "positive on the diagonal"),
        (np.array([[1.0, np.nan]]), "finite"),
        (np.ones((3, 2)), "shape"),
    ],
)
def test_bands_that_are_no_encoder_are_refused(bands, message):
    with pytest.raises(ValueError, match=message):
        Factorisation(bands=bands)


@pytest.mark.parametrize(("separation", "participations"), [(0, 1), (1, 0)])
def test_a_pattern_of_nothing_is_refused(separation, participations):
    with pytest.raises(ValueError, match="must be positive"):
        best_patterns(np.ones((1, 3)), separation, participations)


def test_beyond_what_is_solved_for_one_row_of_bands_stands_for_all(monkeypatch):
    monkeypatch.setattr("fedrec.privacy.correlation.factorisation.DENSE_ROUNDS", 50)
    found = factorise(60, 6)
    assert column_sum(np.sum(found.bands**2, axis=0), 6, 10) == pytest.approx(10)
    assert found.squared_error() < 1.5 * certificate(found)


@pytest.mark.slow
def test_a_thousand_rounds_with_fifty_bands_are_solved_to_half_a_percent_within_a_minute():
    before = time.process_time()
    found = factorise(1000, 50)
    assert time.process_time() - before < 60
    assert found.squared_error() <= 1.005 * certificate(found)
