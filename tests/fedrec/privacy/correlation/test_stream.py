"""Streams of noise are held to dense linear algebra on the same white noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedrec.privacy.correlation import stream as stream_module
from fedrec.privacy.correlation import tree as tree_noise
from fedrec.privacy.correlation.cache import factorisation_for
from fedrec.privacy.correlation.participation import correlation_for
from fedrec.privacy.correlation.stream import correlated_noise
from fedrec.privacy.noise.source import NoiseSource, noise_generator

SHAPES = {"wide": (3, 2), "bias": (4,)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def stream(strategy, rounds=20, separation=4, seed=0, shapes=SHAPES):
    return correlated_noise(correlation_for(strategy, rounds, separation), noise_generator(seed), shapes)


def rows(noise, rounds, name):
    return torch.stack([noise.take(number)[name].reshape(-1) for number in range(1, rounds + 1)]).numpy()


@pytest.mark.parametrize(("rounds", "separation"), [(20, 4), (9, 1), (5, 8), (13, 13)])
def test_the_banded_stream_is_the_inverse_encoder_on_white_noise(rounds, separation):
    noise, source = stream("banded", rounds, separation), noise_generator(0)
    white = np.stack([source.derived("round", t, "bias").gaussian((4,)).numpy() for t in range(1, rounds + 1)])
    encoder = factorisation_for(rounds, min(separation, rounds)).encoder()
    np.testing.assert_allclose(rows(noise, rounds, "bias"), np.linalg.solve(encoder, white), rtol=0, atol=1e-10)


def decoder_of_the_tree(rounds):
    """Each running sum as a mixture of the noise of nodes, by the definition, in the order of ``encoder``'s rows."""
    nodes, own = tree_noise.encoder(rounds), tree_noise.own_weights(tree_noise.levels(rounds))
    at = {tuple(np.flatnonzero(row)): number for number, row in enumerate(nodes)}

    def refined(first, level):
        one = np.eye(len(nodes))[at[tuple(range(first, first + 2**level))]]
        if level == 0:
            return one
        below = refined(first, level - 1) + refined(first + 2 ** (level - 1), level - 1)
        return own[level] * one + (1 - own[level]) * below

    def running(count):
        total, first = np.zeros(len(nodes)), 0
        for level in reversed(range(count.bit_length())):
            if count >> level & 1:
                total, first = total + refined(first, level), first + 2**level
        return total

    return np.stack([running(t) for t in range(1, rounds + 1)])


@pytest.mark.parametrize("rounds", [1, 6, 13])
def test_the_tree_s_running_sums_are_mixtures_of_the_noise_of_complete_nodes(rounds):
    source, white = noise_generator(0), {}
    for t in range(1, rounds + 1):
        drawn = source.derived("round", t, "bias")
        for level in range((t & -t).bit_length()):
            white[t - 2**level, level] = drawn.gaussian((4,)).numpy()
    in_order = np.stack([white[key] for key in sorted(white, key=lambda key: (key[1], key[0]))])
    decoder = decoder_of_the_tree(rounds)
    sums = np.cumsum(rows(stream("tree", rounds), rounds, "bias"), axis=0)
    np.testing.assert_allclose(sums, decoder @ in_order, rtol=0, atol=1e-10)
    np.testing.assert_allclose(decoder @ tree_noise.encoder(rounds), np.tri(rounds), atol=1e-12)  # it is unbiased
    assert np.sum(decoder**2) == pytest.approx(tree_noise.squared_error(rounds))


@pytest.mark.parametrize("strategy", ["banded", "tree"])
def test_a_stream_that_is_taken_up_later_is_the_same(strategy):
    whole, late = stream(strategy), stream(strategy)
    expected = [whole.take(number) for number in range(1, 21)]
    for number in (8, 9, 20):
        found = late.take(number)
        assert all(torch.equal(found[name], expected[number - 1][name]) for name in SHAPES)


@pytest.mark.parametrize("strategy", ["banded", "tree"])
@pytest.mark.parametrize("again", [3, 2, 21])
def test_no_round_s_noise_is_given_twice_nor_beyond_the_stream(strategy, again):
    noise = stream(strategy)
    noise.take(3)
    with pytest.raises(ValueError, match="the stream has left"):
        noise.take(again)


@pytest.mark.parametrize("strategy", ["banded", "tree"])
def test_tensors_and_keys_have_noise_of_their_own(strategy):
    both = stream(strategy, shapes={"one": (50,), "two": (50,)})
    other = stream(strategy, seed=1, shapes={"one": (50,)})
    drawn = [rows(both, 20, "one").ravel(), rows(other, 20, "one").ravel()]
    again = stream(strategy, shapes={"one": (50,), "two": (50,)})
    drawn.append(rows(again, 20, "two").ravel())
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 0.15


def test_the_banded_stream_holds_fewer_rounds_than_it_has_bands_and_the_tree_one_a_level():
    banded, tree = stream("banded", 64, 8), stream("tree", 64, 8)
    held = []
    for number in range(1, 65):
        banded.take(number)
        tree.take(number)
        held.append((banded.kept, tree.kept))
    assert max(kept for kept, _ in held) == 8 - 1
    assert max(kept for _, kept in held) <= tree_noise.levels(64) + 1


class Counted(NoiseSource):
    """Counts the tensors of model size that are alive."""

    alive: list = []  # noqa: RUF012  # shared by what is derived from it

    def derived(self, *labels):
        return Counted(super().derived(*labels).key)

    def gaussian(self, shape):
        import weakref

        drawn = super().gaussian(shape)
        Counted.alive.append(weakref.ref(drawn))
        return drawn


def test_no_more_than_b_tensors_of_white_noise_outlive_their_round():
    Counted.alive.clear()
    noise = correlated_noise(correlation_for("banded", 40, 5), Counted(bytes(32)), {"bias": (4,)})
    for number in range(1, 41):
        noise.take(number)
        assert sum(reference() is not None for reference in Counted.alive) <= 5


@pytest.mark.parametrize(("strategy", "separation"), [("banded", 5), ("tree", 5), ("banded", 1)])
def test_running_sums_have_the_squared_error_that_the_formula_says(strategy, separation):
    """A Monte Carlo of 20,000 coordinates: the sum's relative standard deviation is below 2 percent."""
    rounds, draws = 16, 20_000
    drawn = rows(stream(strategy, rounds, separation, shapes={"many": (draws,)}), rounds, "many")
    measured = float(np.sum(np.cumsum(drawn, axis=0) ** 2)) / draws
    formula = {
        "banded": factorisation_for(rounds, separation).squared_error(),
        "tree": tree_noise.squared_error(rounds),
    }
    assert measured == pytest.approx(formula[strategy], rel=0.03)


def test_a_correlation_that_states_less_sensitivity_than_it_has_draws_nothing():
    honest = correlation_for("banded", 20, 4)
    with pytest.raises(ValueError, match="sensitivity"):
        correlated_noise(replace(honest, sensitivity=honest.sensitivity * 0.99), noise_generator(0), SHAPES)
    more = replace(correlation_for("tree", 20, 4), separation=2, participations=10)
    with pytest.raises(ValueError, match="sensitivity"):
        correlated_noise(more, noise_generator(0), SHAPES)


def test_an_encoder_that_is_more_sensitive_than_is_charged_for_makes_no_noise(monkeypatch):
    told = correlation_for("banded", 20, 4)
    found = factorisation_for(20, 4)
    monkeypatch.setattr(stream_module, "factorisation_for", lambda *_: replace(found, bands=found.bands * 1.1))
    with pytest.raises(ValueError, match=f"sensitivity is {told.sensitivity * 1.1:g}, not {told.sensitivity:g}"):
        correlated_noise(told, noise_generator(0), SHAPES)
