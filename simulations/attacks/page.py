"""The page on robustness: put together from stored rows, and from prose that holds whatever they say."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

from simulations.attacks import prose
from simulations.attacks.authors.record import Reproduction
from simulations.attacks.grid import CLEAN, FRACTIONS, Row, WorldName, defences_of
from simulations.attacks.registry import ATTACKS
from simulations.benches.figures import table
from simulations.benches.origin import counted

MOST_EXPOSURE, TIMES_CLEAN, MOST_LOSS = 0.02, 5.0, 0.05
"""The bars: ER@10 at most the larger of 0.02 and five times that without an attack; HR@10 at most 5 % below it."""
NOT_RUN = "–"
TITLES = {"factors": "Plain matrix factorisation", "fedrec": "fedrec's own model"}


class Rows:
    """Stored rows of one world and data set."""

    def __init__(self, rows: Iterable[Row], world: WorldName, data: str) -> None:
        own = [row for row in rows if (row.cell.world, row.cell.data) == (world, data)]
        self.by_cell = {row.cell: row for row in sorted(own, key=lambda row: row.cell)}

    def pairs(self, attack: str, defence: str, fraction: float) -> list[tuple[Row, Row]]:
        """Return the runs of an attack, one a seed, each with its clean twin."""
        found = [
            row
            for cell, row in self.by_cell.items()
            if (cell.attack, cell.defence, cell.fraction) == (attack, defence, fraction)
        ]
        return [(row, self.by_cell[row.cell.clean]) for row in found if row.cell.clean in self.by_cell]

    def clean(self, defence: str) -> list[Row]:
        """Return the runs without an attack, one a seed."""
        return [row for cell, row in self.by_cell.items() if (cell.attack, cell.defence) == (CLEAN, defence)]

    def defences(self) -> list[str]:
        """Return the defences that any row is of."""
        found = {cell.defence for cell in self.by_cell}
        return [name for name in ("none", "guarded", *_OTHERS) if name in found]


_OTHERS = tuple(
    dict.fromkeys(
        name for world in ("factors", "fedrec") for name in defences_of(world) if name not in ("none", "guarded")
    )
)


def exposure(pair: tuple[Row, Row]) -> float:
    """Return ER@10 after the last round of an attacked run."""
    row = pair[0]
    return row.er[row.last]


def loss(pair: tuple[Row, Row]) -> float:
    """Return by what share HR@10 is below that of the clean twin."""
    row, clean = pair
    return 1 - row.hr[row.last] / clean.hr[clean.last] if clean.hr[clean.last] else 0.0


def holds(pairs: Sequence[tuple[Row, Row]]) -> bool:
    """Return whether the means over seeds keep both bars."""
    clean = fmean(twin.er[twin.last] for _, twin in pairs)
    return (
        fmean(map(exposure, pairs)) <= max(TIMES_CLEAN * clean, MOST_EXPOSURE) and fmean(map(loss, pairs)) <= MOST_LOSS
    )


def robustness_page(rows: Sequence[Row], reproductions: Sequence[Reproduction]) -> str:
    """Return the page, as Markdown."""
    sections = [prose.HEAD]
    if reproductions:
        sections += [prose.AUTHORS, _reproduced(reproductions)]
    for world, data in sorted({(row.cell.world, row.cell.data) for row in rows}, reverse=True):
        sections += _world_section(Rows(rows, world, data), world, data)
    origins = [row.origin for row in rows], [one.origin for one in reproductions]
    sections += [prose.ANALYSIS, prose.ORIGINS, counted([*origins[0], *origins[1]])]
    return "\n\n".join(sections) + "\n"


def read_reproductions(path: Path) -> list[Reproduction]:
    """Return what is kept of the attacks in their authors' settings."""
    if not path.is_file():
        return []
    return [Reproduction.from_json(line) for line in path.read_text().splitlines() if line.strip()]


def _world_section(rows: Rows, world: WorldName, data: str) -> list[str]:
    sections = [f"## {TITLES[world]}, {data}", prose.WORLDS[world]]
    sections += [_honest_table(rows)]
    for fraction in FRACTIONS:
        named = [name for name in rows.defences() if any(rows.pairs(attack, name, fraction) for attack in ATTACKS)]
        if not named:
            continue
        sections += [f"### {fraction:.1%} of liars", _defences_table(rows, named, fraction)]
    return sections


def _honest_table(rows: Rows) -> str:
    """What a defence costs where nobody lies."""
    lines = []
    base = rows.clean("none")
    for name in rows.defences():
        own = rows.clean(name)
        if not own:
            continue
        seeds = {row.cell.seed for row in own} & {row.cell.seed for row in base}
        shared = [row for row in own if row.cell.seed in seeds], [row for row in base if row.cell.seed in seeds]
        change = fmean(_hr(row) for row in shared[0]) / fmean(_hr(row) for row in shared[1]) - 1 if seeds else None
        lines.append(
            (
                name,
                _spread([_hr(row) for row in own]),
                _spread([row.ndcg[row.last] for row in own], 4),
                NOT_RUN if change is None else f"{change:+.1%}",
                str(len(own)),
            )
        )
    return "Without an attack:\n\n" + table(("defence", "HR@10", "NDCG@10", "HR@10 against none", "seeds"), lines)


def _hr(row: Row) -> float:
    return row.hr[row.last]


def _defences_table(rows: Rows, defences: Sequence[str], fraction: float) -> str:
    """Attacks down, defences across; ER@10 of who promotes, loss of HR@10 of who spoils, both where both matter."""
    lines = []
    for attack, kind in ATTACKS.items():
        of = [rows.pairs(attack, name, fraction) for name in defences]
        if not any(of):
            continue
        promotes = kind.goal == "promote"
        lines.append(
            (
                attack,
                "ER@10" if promotes else "HR@10 lost",
                *(_shown(pairs, exposure if promotes else loss, promotes) for pairs in of),
            )
        )
        if promotes:
            lines.append(("", "HR@10 lost", *(_shown(pairs, loss, promotes=False) for pairs in of)))
    return table(("attack", "", *defences), lines)


def _shown(pairs: Sequence[tuple[Row, Row]], measure: Callable[[tuple[Row, Row]], float], promotes: bool) -> str:
    if not pairs:
        return NOT_RUN
    values = [measure(pair) for pair in pairs]
    clean = fmean(twin.er[twin.last] for _, twin in pairs)
    bar = max(TIMES_CLEAN * clean, MOST_EXPOSURE) if promotes else MOST_LOSS
    text = _spread(values) if promotes else _spread(values, 1, percent=True)
    return f"**{text}**" if fmean(values) > bar else text


def _spread(values: Sequence[float], digits: int = 3, *, percent: bool = False) -> str:
    """Return the mean and, of several, the least and the largest: ``0.12 [0.10, 0.14]``."""

    def one(value: float) -> str:
        return f"{100 * value:.{digits}f} %" if percent else f"{value:.{digits}f}"

    if len(values) == 1:
        return one(values[0])
    return f"{one(fmean(values))} [{one(min(values)).removesuffix(' %')}, {one(max(values)).removesuffix(' %')}]"


def _reproduced(found: Sequence[Reproduction]) -> str:
    lines = []
    for one in found:
        last, clean = one.measured[-1], one.clean[-1]
        er = NOT_RUN if last.er10 is None else f"{last.er5:.2f} / {last.er10:.2f} / {last.er20:.2f}"
        lines.append(
            (
                one.name,
                one.data,
                f"{one.fraction:.1%}",
                str(last.iteration),
                er,
                f"{last.hr:.3f} ({clean.hr:.3f})",
                one.claimed,
                one.own,
            )
        )
    columns = (
        "attack",
        "data",
        "liars",
        "iterations",
        "ER@5 / 10 / 20",
        "HR (without liars)",
        "the authors' effect",
        "what differs",
    )
    return table(columns, lines)
