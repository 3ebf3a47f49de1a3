"""Content columns to numbers: multi-hot tokens, coarse years, standardised numbers. Knows no items and no titles."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

MAX_VALUES = 256
"""A single-token column with more distinct values names items rather than describes them; it is no feature."""

MAX_TOKENS = 2048
"""Most frequent tokens of a sequence column that become features; bounds memory where a column is running text."""

YEARS_A_BUCKET = 6
"""Width of year buckets: coarse enough that each holds items, fine enough to follow taste."""

YEAR = re.compile(r"(1[89]|20)\d\d")


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Finite float32 ``[num_items, num_features]`` and one name a column."""

    values: NDArray[np.float32]
    names: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Sequence[Self], num_items: int) -> Self:
        """Set features side by side; without parts the result has no columns."""
        empty = np.empty((num_items, 0), dtype=np.float32)
        names = tuple(name for part in parts for name in part.names)
        return cls(values=np.concatenate([empty, *[part.values for part in parts]], axis=1), names=names)


def multi_hot(column: str, rows: Sequence[Sequence[str]]) -> Features:
    """Give each token a column that is 1 where an item has it; tokens in order of name, at most ``MAX_TOKENS``."""
    counts = Counter(token for row in rows for token in set(row))
    frequent = sorted(counts, key=lambda token: (-counts[token], token))[:MAX_TOKENS]
    position = {token: at for at, token in enumerate(sorted(frequent))}
    values = np.zeros((len(rows), len(position)), dtype=np.float32)
    for item, row in enumerate(rows):
        values[item, [position[token] for token in row if token in position]] = 1.0
    return Features(values=values, names=tuple(f"{column}={token}" for token in position))


def one_hot(column: str, values: Sequence[str]) -> Features:
    """Give each value a column; years fall into buckets first; blank is all zeros; too many values give no column."""
    if are_years(values):
        values = [year_bucket(value) for value in values]
    if len(set(values)) > MAX_VALUES:
        return Features.joined([], len(values))
    return multi_hot(column, [(value,) if value else () for value in values])


def standardised(column: str, numbers: NDArray[np.float64]) -> Features:
    """Bring numbers to mean 0 and deviation 1; a missing one (NaN) becomes 0 and sets a second column to 1.

    Numbers that are all equal become 0.
    """
    missing = np.isnan(numbers)
    known = numbers[~missing]
    mean, deviation = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
    # rounding gives equal numbers a tiny deviation, by which nothing must be divided
    spread = deviation > 1e-9 * np.abs(known).max(initial=0.0)
    scaled = np.where(missing | ~spread, 0.0, (numbers - mean) / (deviation or 1.0)).astype(np.float32)
    if not missing.any():
        return Features(values=scaled[:, None], names=(column,))
    flagged = np.stack([scaled, missing.astype(np.float32)], axis=1)
    return Features(values=flagged, names=(column, f"{column} is missing"))


def are_years(values: Sequence[str]) -> bool:
    """Return whether a column holds years of four digits; one odd value in twenty is forgiven (ML-100K has two)."""
    given = [value for value in values if value]
    return bool(given) and sum(YEAR.fullmatch(value) is not None for value in given) >= 0.95 * len(given)


def year_bucket(value: str) -> str:
    """Return ``1992-1997`` for a year of these; blank for what is no year."""
    if not YEAR.fullmatch(value):
        return ""
    first = int(value) // YEARS_A_BUCKET * YEARS_A_BUCKET
    return f"{first}-{first + YEARS_A_BUCKET - 1}"
