"""The page on quality: put together from stored runs and from prose that holds whatever they say."""

from collections.abc import Sequence

from simulations.benches.figures import table
from simulations.benches.origin import counted
from simulations.benches.quality import prose
from simulations.benches.quality.ablations import encoder_section, task_section
from simulations.benches.quality.bars import SEEDS, TITLES, Bar, bars
from simulations.benches.quality.budgets import budget_section
from simulations.benches.quality.cells import NOT_RUN, percent
from simulations.benches.quality.matrix import BRANCHES, CENTRAL, DATA, FUSION, PRESETS, TRIO, WITH_DP
from simulations.benches.quality.published import Published, published_section
from simulations.benches.quality.row import QualityRow
from simulations.benches.quality.stored import Stored
from simulations.benches.quality.tables import (
    cold_section,
    cost_table,
    dp_section,
    gain_table,
    main_table,
    new_users_section,
    seed_lines,
)


def quality_page(rows: Sequence[QualityRow], data: Sequence[str], published: Sequence[Published] = ()) -> str:
    """Return the page on the kept runs of ``data``, as Markdown. ``published``: figures of before.

    Raises ``ConfigError`` for runs of one data set that were measured by different rules.
    """
    stored = {name: Stored(name, rows) for name in data}
    for one in stored.values():
        one.check_comparable(FUSION, (TRIO, CENTRAL, WITH_DP, *PRESETS, *BRANCHES))
    sections = [prose.HEAD, _made(rows)]
    goals = list(bars(stored))
    if goals:
        sections += [prose.BARS, table(("data", "bar", "measured", "seeds", ""), map(_bar_row, goals))]
    for number, one in enumerate(stored.values()):
        sections += _section(one, first=number == 0)
    sections += [published_section(stored, published)] if published else []
    return "\n\n".join([*sections, prose.NOTES]) + "\n"


def _section(stored: Stored, *, first: bool) -> list[str]:
    """Return what is said of one data set; what its tables mean is said at the first."""
    title = f"## {TITLES.get(stored.name, stored.name)}"
    parts = [title, _protocol(stored), main_table(stored), *([prose.ROWS] if first else [])]
    parts += [seed_lines(stored), *([prose.GAINS] if first else []), gain_table(stored)]
    parts += [*([prose.COSTS] if first else []), cost_table(stored)]
    if stored.name not in DATA[2:]:
        parts += [dp_section(stored)] if first else []
        parts += [budget_section(stored, first=first)]
    if stored.name not in DATA[1:]:
        parts += [encoder_section(stored), task_section(stored)]
        parts += [cold_section(stored), new_users_section(stored)]
    return parts


def _protocol(stored: Stored) -> str:
    found = stored.summaries(FUSION)
    if not found:
        return f"The fusion was {NOT_RUN}."
    one, training = found[0].protocol, stored.scenario(FUSION).training
    return (
        f"{one.num_users:,} users, {one.num_items:,} items, {one.num_events:,} events; {one.evaluated_users:,} users "
        f"are asked. {training.rounds} rounds with {percent(training.sample_rate)} of the users in each."
    )


def _made(rows: Sequence[QualityRow]) -> str:
    """Return what was run, when, where and by which code."""
    if not rows:
        return "Nothing is kept."
    return f"{len(rows)} runs:\n\n{counted(row.origin for row in rows)}"


def _bar_row(bar: Bar) -> list[str]:
    verdict = {None: NOT_RUN, True: "met", False: "**MISSED**"}[bar.met]
    if bar.met is not None and bar.seeds < SEEDS:
        verdict += f", with {bar.seeds} of {SEEDS} seeds"
    return [bar.data, bar.what, bar.measured, str(bar.seeds), verdict]
