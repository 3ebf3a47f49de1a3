"""Whether noise has the shape that was declared: as many numbers on either side of fixed places as the law has.

Accountants of Gaussian noise say nothing of noise of the same variance and another law (uniform: it can never explain a
far value). Exact at any number of draws, small or large. Knows standardised residuals, no mechanism.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedrec.audit.findings import SIGNIFICANCE, Check, Level

PLACES = np.array([-5.0, -4, -3.5, -3, -2.5, -2, -1.5, -1, -0.75, -0.5, -0.25, -0.1, 0])
"""Fixed in advance, in standard deviations; with their mirror images."""

Floats = NDArray[np.float64]


def shape(noise: Mapping[str, Floats], excess_kurtosis: float, spacing: float, level: Level, prefix: str) -> Check:
    """Test the number of draws below each of fixed places against the binomial law, over all tensors and for each.

    ``noise``: ``[rounds, ...]`` by tensor, standard deviation 1. ``excess_kurtosis``, ``spacing``: declared; the share
    below a place may be anything between that half a step to the left and to the right, and off by the first term of
    Edgeworth's series, twice.
    """
    places = np.unique(np.concatenate([PLACES, -PLACES]))
    lowest, highest = _shares(places, excess_kurtosis, spacing)
    parts = {name: np.sort(numbers, axis=None) for name, numbers in noise.items()}
    if len(parts) > 1:
        parts["all tensors"] = np.sort(np.concatenate(list(parts.values())))
    found = []
    for name, numbers in parts.items():
        below = np.searchsorted(numbers, places, side="right")
        p_values = np.minimum(
            stats.binom.cdf(below, len(numbers), lowest), stats.binom.sf(below - 1, len(numbers), highest)
        )
        worst = int(p_values.argmin())
        found.append((float(p_values[worst]), float(places[worst]), below[worst] / len(numbers), name))
    p_value, place, share, name = min(found)
    tests = 2 * len(places) * len(parts)
    broken = p_value < SIGNIFICANCE / tests
    expected = float(stats.norm.cdf(place))
    told = (
        f"{100 * share:.3f} % of the noise of {name} lies below {place:g} standard deviations, {100 * expected:.3f} %"
    )
    return Check(
        level=level,
        name=f"{prefix}noise-shape",
        asks="Is the noise of the declared law?",
        verdict="violated" if broken else "passed",
        found=f"No: {told} should." if broken else f"No violation found at {len(places)} places: {told} should.",
        figures={"place": place, "share": float(share), "expected": expected, "p_value": p_value},
        method=f"exact binomial tests at {len(places)} fixed places, two-sided, of {len(parts)} parts (Bonferroni)",
        tests=1,
    )


def _shares(places: Floats, excess_kurtosis: float, spacing: float) -> tuple[Floats, Floats]:
    """Return the least and the largest share below each place that the declared law may have."""
    off = 2 * abs(excess_kurtosis) / 24 * np.abs(places**3 - 3 * places) * stats.norm.pdf(places)
    lowest = stats.norm.cdf(places - spacing / 2) - off
    highest = stats.norm.cdf(places + spacing / 2) + off
    return np.clip(lowest, 0.0, 1.0), np.clip(highest, 0.0, 1.0)
