"""Answers of level 2 in one form: what broke a claim, one fault at a time, or that nothing did."""

from collections.abc import Iterator, Mapping, Sequence

from fedrec.audit.findings import Bound, Check, Findings, Level

SHOWN = 3
"""Faults that are told in full; of more the number alone."""

Found = Check | Bound


def judged(
    name: str,
    asks: str,
    faults: Sequence[str],
    passed: str,
    *,
    figures: Mapping[str, float | None] | None = None,
    method: str = "",
    tests: int = 0,
) -> Check:
    """Return a check that is violated if there are faults. ``passed``: what was found if there are none."""
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return Check(
        level=Level.MECHANISM,
        name=name,
        asks=asks,
        verdict="violated" if faults else "passed",
        found="; ".join(faults[:SHOWN]) + more if faults else passed,
        figures={**(figures or {}), "faults": float(len(faults))},
        method=method,
        tests=tests,
    )


def not_run(name: str, asks: str, why: str) -> Check:
    """Return a check that did not look, and why."""
    return Check(level=Level.MECHANISM, name=name, asks=asks, verdict="not run", found=why)


def findings(found: Iterator[Found], untested: Sequence[str] = ()) -> Findings:
    """Return all that a generator of checks and bounds yields."""
    rows = list(found)
    return Findings(
        checks=tuple(row for row in rows if isinstance(row, Check)),
        bounds=tuple(row for row in rows if isinstance(row, Bound)),
        untested=tuple(untested),
    )
