"""How checks of the record are put together from what was found wrong."""

import math
from collections.abc import Iterable, Mapping, Sequence

from fedrec.audit.findings import Check, Level, Verdict

SHOWN = 3
"""Faults that a sentence names; the others are counted."""

Figures = Mapping[str, float | None]


def judged(
    name: str,
    asks: str,
    passed: str,
    *,
    violations: Iterable[str] = (),
    warnings: Iterable[str] = (),
    figures: Figures | None = None,
    method: str = "",
) -> Check:
    """Return the check: violated with its ``violations``, else warned with its ``warnings``, else passed."""
    wrong, odd = list(violations), list(warnings)
    verdict: Verdict = "violated" if wrong else "warned" if odd else "passed"
    found = listed(wrong) if wrong else listed(odd) if odd else passed
    return Check(
        level=Level.RECORD,
        name=name,
        asks=asks,
        verdict=verdict,
        found=found,
        figures=plain(figures or {}),
        method=method,
    )


def not_run(name: str, asks: str, why: str) -> Check:
    """Return a check that could not be made."""
    return Check(level=Level.RECORD, name=name, asks=asks, verdict="not run", found=why)


def listed(faults: Sequence[str]) -> str:
    """Return faults as one sentence that names the first few."""
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return "; ".join(faults[:SHOWN]) + more


def plain(figures: Figures) -> dict[str, float | None]:
    """Return figures as JSON has them: None for infinity and for what is not known."""
    return {
        name: None if value is None or not math.isfinite(value) else float(value) for name, value in figures.items()
    }
