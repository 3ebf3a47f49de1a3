"""The page of figures on privacy: what the mechanisms were measured to do, beside what is asked of them."""

from collections.abc import Iterable

from pydantic import TypeAdapter

from simulations.benches.figures import figure, table, with_range
from simulations.benches.measurement import Measurement
from simulations.benches.privacy_overhead import BAR, OverheadRow
from simulations.benches.privacy_rows import Row

PRIVACY = "privacy"
"""Name of the stored measurement."""

HEAD = """\
# Privacy: figures

What [privacy](privacy.md) claims of the mechanisms, measured by one command and kept in
`docs/measured/benches/privacy.json`; `fedrec bench pages` writes this page:

```
fedrec bench privacy --store docs/measured/benches/privacy.json
```"""

NOT_MEASURED = "Nothing is stored."


def privacy_page(stored: Measurement | None) -> str:
    """Return the page, as Markdown."""
    if stored is None or stored.found is None:
        return "\n\n".join([HEAD, (stored and stored.failed) or NOT_MEASURED]) + "\n"
    bars = TypeAdapter(list[Row]).validate_python(stored.found["bars"])
    timed = TypeAdapter(list[OverheadRow]).validate_python(stored.found["overhead"])
    sections = [HEAD, f"{stored.machine}. Code: {stored.origin}."]
    if bars:
        sections += ["## Bars", table(("", "asked", "measured", ""), map(bar_cells, bars))]
    if timed:
        sections += ["## What privacy adds to a round", f"{overhead_title()} Medians of laps [least, largest]."]
        head = ("one thread, in process", "without", "with", "more", "noise alone", "ledger alone", "")
        sections += [table(head, map(overhead_cells, timed)), _spreads(timed)]
    return "\n\n".join(sections) + "\n"


def bar_cells(row: Row) -> list[str]:
    """Return a bar as the cells of a table."""
    return [row.name, row.asked, row.measured, "met" if row.met else "MISSED"]


def overhead_cells(row: OverheadRow) -> list[str]:
    """Return a workload as the cells of a table."""
    return [
        row.workload.name,
        f"{figure(1000 * row.plain.median)} ms",
        f"{figure(1000 * row.private.median)} ms",
        f"{row.overhead.median:+.0%} [{row.overhead.low:+.0%}, {row.overhead.high:+.0%}]",
        f"{row.noise:.1%}",
        f"{row.ledger:.1%}",
        "met" if row.within else "MISSED",
    ]


def overhead_title() -> str:
    """Return what stands over the table of workloads."""
    return f"A round with and without user-level privacy; asked: at most {BAR:.0%} more."


def _spreads(timed: Iterable[OverheadRow]) -> str:
    return "\n".join(
        f"- {row.workload.name}: {with_range(row.private)} s with, {with_range(row.plain)} s without" for row in timed
    )
