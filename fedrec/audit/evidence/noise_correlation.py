"""Whether noise is drawn anew: for each round, each tensor and each coordinate.

Noise of standard deviation 1 that is independent leaves no pair of rounds, of tensors or of places alike, in size, in
sign or scaled. Knows standardised residuals, no mechanism.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedrec.audit.findings import SIGNIFICANCE, Check, Level

MOST_ROUNDS = 512
"""Rounds of which every pair is compared; later ones are compared with their neighbours, and for being the same."""

LONGEST = 1 << 21
"""Numbers of a round up to which all distances of coordinates are looked at; beyond, the first so many."""

Floats = NDArray[np.float64]


def across_rounds(noise: Mapping[str, Floats], level: Level, prefix: str) -> Check:
    """Test that the noise of no two rounds is alike, tensor by tensor, up to sign and scale.

    ``noise``: ``[rounds, ...]`` by tensor, standard deviation 1. The cosine of two independent Gaussian vectors has an
    exact law: Student's t with one degree of freedom less than coordinates.
    """
    asks = "Is noise drawn anew in every round?"
    num_rounds = len(next(iter(noise.values())))
    if num_rounds < 2:
        return _not_run("noise-across-rounds", asks, "there is one round only", level, prefix)
    found: list[tuple[float, float, str]] = []
    tests = 0
    for name, numbers in noise.items():
        flat = numbers.reshape(num_rounds, -1)
        for cosine, first, second, pairs in _likest_rounds(flat):
            tests += pairs
            told = f"rounds {first + 1} and {second + 1} of tensor {name!r}"
            found.append((_p_value(cosine, flat.shape[1]), cosine, told))
        for first, second in _same_rounds(flat):
            found.append((0.0, 1.0, f"rounds {first + 1} and {second + 1} of tensor {name!r}"))
    return _judged("noise-across-rounds", asks, found, tests, "rounds", level, prefix)


def across_tensors(noise: Mapping[str, Floats], level: Level, prefix: str) -> Check:
    """Test that no two tensors have the same noise, from their first numbers on, in the same round or the next."""
    asks = "Does every tensor have noise of its own?"
    names = sorted(noise)
    flat = {name: noise[name].reshape(len(noise[name]), -1) for name in names}
    found: list[tuple[float, float, str]] = []
    tests = 0
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            size = min(flat[one].shape[1], flat[other].shape[1])
            for later, words in ((0, ""), (1, ", one round later"), (-1, ", one round earlier")):
                here = flat[one][max(0, -later) : len(flat[one]) - max(0, later), :size].ravel()
                there = flat[other][max(0, later) : len(flat[other]) - max(0, -later), :size].ravel()
                if len(here) < 2:
                    continue
                cosine = _cosine(here, there)
                tests += 1
                found.append((_p_value(cosine, len(here)), cosine, f"tensors {one!r} and {other!r}{words}"))
    if not found:
        return _not_run("noise-across-tensors", asks, "there is one tensor only", level, prefix)
    return _judged("noise-across-tensors", asks, found, tests, "tensors", level, prefix)


def along_coordinates(noise: Mapping[str, Floats], level: Level, prefix: str) -> Check:
    """Test that numbers of one round are no copies of others, at any distance, within and between tensors.

    The sum of products at each distance, over all rounds, is a Gaussian chaos: it exceeds ``sqrt(2 m t) + 2 t`` with a
    probability of at most ``exp(-t)``, ``m`` products being summed (Laurent & Massart, 2000, lemma 1).
    """
    asks = "Does every coordinate have noise of its own?"
    names = sorted(noise)
    flat = np.concatenate([noise[name].reshape(len(noise[name]), -1) for name in names], axis=1)[:, :LONGEST]
    num_rounds, size = flat.shape
    if size < 2:
        return _not_run("noise-along-coordinates", asks, "there is one coordinate only", level, prefix)
    sums = np.abs(_lagged_sums(flat))
    exponent = math.log(2 * len(sums) / SIGNIFICANCE)
    products = num_rounds * (size - 1 - np.arange(len(sums), dtype=np.float64))
    excess = sums / (np.sqrt(2 * products * exponent) + 2 * exponent)
    distance = int(excess.argmax()) + 1
    broken = bool(excess[distance - 1] > 1)
    correlation = float(sums[distance - 1] / products[distance - 1])
    told = f"numbers {distance} apart have a correlation of {correlation:.4f}"
    return Check(
        level=level,
        name=f"{prefix}noise-along-coordinates",
        asks=asks,
        verdict="violated" if broken else "passed",
        found=f"No: {told}." if broken else f"No violation found at {len(sums)} distances: at most, {told}.",
        figures={"distances": float(len(sums)), "correlation": correlation, "distance": float(distance)},
        method=f"autocorrelation at {len(sums)} distances (Bonferroni; Laurent & Massart 2000)",
        tests=1,
    )


# --- pairs of rounds ----------------------------------------------------------------------------------------------
def _likest_rounds(flat: Floats) -> Iterable[tuple[float, int, int, int]]:
    """Yield the most alike of pairs of rounds, and of how many pairs."""
    lengths = np.linalg.norm(flat, axis=1)
    unit = flat / np.where(lengths == 0, 1, lengths)[:, None]
    head = unit[:MOST_ROUNDS]
    gram = np.abs(np.triu(head @ head.T, k=1))
    first, second = divmod(int(gram.argmax()), len(head))
    yield float(gram[first, second]), first, second, len(head) * (len(head) - 1) // 2
    if len(unit) > MOST_ROUNDS:
        for lag in (1, 2, 3, 4):
            near = np.abs((unit[lag:] * unit[:-lag]).sum(axis=1))
            place = int(near.argmax())
            yield float(near[place]), place, place + lag, len(near)


def _same_rounds(flat: Floats) -> Iterable[tuple[int, int]]:
    """Yield two later rounds with the same noise up to sign and scale, if there are; rounding apart."""
    if len(flat) <= MOST_ROUNDS or flat.shape[1] < 4:
        return
    head = flat[:, :8]
    largest = np.take_along_axis(head, np.abs(head).argmax(axis=1)[:, None], axis=1)
    keys = np.round(head / np.where(largest == 0, 1, largest), 6) + 0.0
    _, first, inverse, counts = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
    for key in np.flatnonzero(counts > 1)[:1]:
        again = np.flatnonzero(inverse.ravel() == key)
        if abs(_cosine(flat[again[0]], flat[again[1]])) > 1 - 1e-6:
            yield int(first[key]), int(again[1])


# --- statistics ---------------------------------------------------------------------------------------------------
def _cosine(one: Floats, other: Floats) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return abs(float(one @ other)) / lengths if lengths else 0.0


def _p_value(cosine: float, size: int) -> float:
    """Return the probability that independent Gaussian vectors have a cosine this far from 0."""
    if size < 2:
        return 1.0  # any two numbers are alike up to scale
    cosine = min(cosine, 1 - 1e-15)
    return float(2 * stats.t.sf(cosine * math.sqrt((size - 1) / (1 - cosine**2)), size - 1))


def _lagged_sums(flat: Floats) -> Floats:
    """Return the sums of products of numbers 1, 2, ... apart, over all rounds, ``[size - 1]``."""
    size = flat.shape[1]
    padded = 1 << (2 * size - 1).bit_length()
    power = np.zeros(padded // 2 + 1)
    step = max(1, LONGEST // padded)
    for start in range(0, len(flat), step):
        spectrum = np.fft.rfft(flat[start : start + step], padded, axis=1)
        power += (spectrum.real**2 + spectrum.imag**2).sum(axis=0)
    return np.asarray(np.fft.irfft(power, padded)[1:size])


def _judged(
    name: str, asks: str, found: list[tuple[float, float, str]], tests: int, what: str, level: Level, prefix: str
) -> Check:
    p_value, cosine, told = min(found)
    broken = p_value < SIGNIFICANCE / max(1, tests)
    words = f"the noise of {told} has a correlation of {cosine:.4f}"
    return Check(
        level=level,
        name=f"{prefix}{name}",
        asks=asks,
        verdict="violated" if broken else "passed",
        found=f"No: {words}." if broken else f"No violation found in {tests} pairs of {what}: at most, {words}.",
        figures={"pairs": float(tests), "correlation": cosine, "p_value": p_value},
        method=f"cosine of residuals, exact law, least of {tests} (Bonferroni)",
        tests=1,
    )


def _not_run(name: str, asks: str, why: str, level: Level, prefix: str) -> Check:
    return Check(level=level, name=f"{prefix}{name}", asks=asks, verdict="not run", found=f"Not tested: {why}.")
