"""How measured figures are written, in a terminal and on pages: significant digits, spreads, Markdown tables."""

from collections.abc import Iterable, Sequence

from simulations.benches.racing import Spread


def with_range(spread: Spread, digits: int = 3) -> str:
    """Return the median and, in brackets, the least and the largest: ``12.3 [11.9, 13]``."""
    return f"{figure(spread.median, digits)} [{figure(spread.low, digits)}, {figure(spread.high, digits)}]"


def figure(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, thousands as ``k`` and millions as ``M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (1 - 0.5 * 10.0**-digits):
            return _digits(value / size, digits) + letter
    return _digits(value, digits)


def _digits(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
