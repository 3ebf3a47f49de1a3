"""Times as text to seconds since 1970 in UTC: integers in s, ms, us or ns, and ISO 8601. Knows no calendar but UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fedrec.data.text_files import Where, is_number, parse_numbers
from fedrec.errors import DataError

FIRST_MILLISECONDS = 1e11
"""Numbers from here on cannot be seconds (year 5138), so that they are milliseconds (from March 1973)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Times:
    """Times of some rows: float64 ``[n]``, in seconds if ``dated``, else numbers whose unit the whole file decides."""

    values: NDArray[np.float64]
    dated: bool


def parse_times(texts: Sequence[str], where: Where) -> Times:
    """Read numbers or ISO dates, whichever the first row has; raise ``DataError`` at the first row that differs."""
    if is_number(texts[0]):
        return Times(values=parse_numbers(texts, where, "time"), dated=False)
    seconds = [_seconds(text, where, row) for row, text in enumerate(texts)]
    return Times(values=np.array(seconds, dtype=np.float64), dated=True)


def to_seconds(numbers: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    """Bring numeric times to seconds by their size: s, ms (from 1e11), us (from 1e14), ns (from 1e17).

    Raise ``DataError`` if some can only be milliseconds or finer and others are of another unit.
    """
    thousands = _thousands(float(numbers.max()))
    if thousands and _thousands(float(numbers.min())) != thousands:
        raise DataError(
            f"{source}: times from {numbers.min():.0f} to {numbers.max():.0f} mix units: bring all of them to seconds"
        )
    return numbers / 1000.0**thousands


def _thousands(number: float) -> int:
    return sum(number >= FIRST_MILLISECONDS * 1000.0**step for step in range(3))


def _seconds(text: str, where: Where, row: int) -> float:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise DataError(
            f"{where[row]}: time {text!r} is neither a number nor an ISO date: correct or remove the row"
        ) from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
