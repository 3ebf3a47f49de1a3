"""The table of attacks, cell by cell: which cells there are, playing one, and keeping what came of it.

A cell is an attack against a defence by a fraction of liars under a seed. Rows are kept one a line; a cell that is kept
is not played again.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Literal

import torch

from fedrec.aggregation.defences import Defence, defences
from fedrec.config import RobustnessConfig, Scenario
from fedrec.data.load import load_dataset
from fedrec.errors import ConfigError
from simulations.attacks.cells import Setting, rare_target
from simulations.attacks.factors import FactorWorld
from simulations.attacks.registry import ATTACKS
from simulations.attacks.world import World
from simulations.benches.origin import Origin

WorldName = Literal["factors", "fedrec"]
CLEAN = "no attack"
USER_DP, USER_DP_FLOOR = "user-dp", "user-dp-floor"
ITEM_FLOOR = 16
"""Fewer items than any user of MovieLens-100K has."""
OWNER_SHARE = 0.01
CLIP_NORM, ROW_CLIP_NORM = 4.0, 0.3
"""In the plain matrix factorisation: the median of honest users' updates, and of the longest row of each at first."""
MEASURES = ("er", "hr", "ndcg")
FRACTIONS = (0.001, 0.01, 0.05, 0.1)


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """One run. ``fraction`` is 0, and ``attack`` is ``CLEAN``, where nobody lies."""

    world: WorldName
    data: str
    defence: str
    attack: str
    fraction: float
    seed: int

    @property
    def clean(self) -> "Cell":
        """The same run without an attack."""
        return Cell(world=self.world, data=self.data, defence=self.defence, attack=CLEAN, fraction=0.0, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of a cell: measures by round, alarms by kind with their first round, and the time that it took."""

    cell: Cell
    er: dict[int, float]
    hr: dict[int, float]
    ndcg: dict[int, float]
    alarms: dict[str, int]
    target: int
    target_met: int
    """Honest users who have met the target."""
    seconds: float
    origin: Origin

    @property
    def last(self) -> int:
        """The last round that was measured."""
        return max(self.er)


def defences_of(world: WorldName) -> dict[str, Defence]:
    """Return the defences that a world is tried under; ``USER_DP`` is the mechanism's bounds, and noise."""
    guarded = Defence(config=RobustnessConfig.guarded())
    if world == "fedrec":
        capped = guarded.config.model_copy(update={"owner_share": OWNER_SHARE})
        none = Defence(config=RobustnessConfig())
        found = {"none": none, "guarded": guarded, "owner-cap": Defence(config=capped)}
        return {**found, USER_DP: none, USER_DP_FLOOR: none}
    table = defences(clip_norm=CLIP_NORM, row_clip_norm=ROW_CLIP_NORM)
    del table["guarded"]  # its numbers are of other updates; growth has its rules with this world's
    capped = table["growth"].config.model_copy(update={"owner_share": OWNER_SHARE})
    return {**table, "owner-cap": Defence(config=capped)}


def cells(
    world: WorldName,
    data: str,
    *,
    attacks: Sequence[str],
    defences: Sequence[str],
    fractions: Sequence[float],
    seeds: Sequence[int],
) -> Iterator[Cell]:
    """Yield the cells asked for, each defence and seed with its clean twin first.

    Raises ``ConfigError`` for a name that there is not.
    """
    for what, names, known in (
        ("attack", attacks, (CLEAN, *ATTACKS)),
        ("defence", defences, tuple(defences_of(world))),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(f"there is no {what} {name!r}: the {what}s of {world} are {', '.join(known)}")
    for seed, defence in product(seeds, defences):
        own = [
            Cell(world=world, data=data, defence=defence, attack=attack, fraction=fraction, seed=seed)
            for attack, fraction in product((name for name in attacks if name != CLEAN), fractions)
        ]
        yield from [Cell(world=world, data=data, defence=defence, attack=CLEAN, fraction=0.0, seed=seed), *own]


def play(cell: Cell) -> Row:
    """Run a cell on this machine's processor."""
    clock = time.process_time()
    floor = ITEM_FLOOR if cell.defence == USER_DP_FLOOR else 1
    world = _world(cell.world, cell.data, floor)
    target = rare_target(world.popularity, cell.seed)
    course = world.play(
        Setting(
            kind=ATTACKS[cell.attack] if cell.attack != CLEAN else None,
            fraction=cell.fraction,
            defence=defences_of(cell.world)[cell.defence],
            seed=cell.seed,
            target=target,
            private=cell.defence in (USER_DP, USER_DP_FLOOR),
        )
    )
    return Row(
        cell=cell,
        er={round: look.er for round, look in course.looks.items()},
        hr={round: look.hr for round, look in course.looks.items()},
        ndcg={round: look.ndcg for round, look in course.looks.items()},
        alarms=course.alarms,
        target=target,
        target_met=int(world.popularity[target]),
        seconds=round(time.process_time() - clock, 1),
        origin=Origin.here(),
    )


@lru_cache(maxsize=2)
def _world(name: WorldName, data: str, item_floor: int) -> World | FactorWorld:
    torch.set_num_threads(1)
    settings = {"data": {"source": data}, "model": {"item_floor": item_floor}, "training": {"sample_rate": 0.1}}
    scenario = Scenario.model_validate(settings)
    dataset = load_dataset(scenario.data, 0)
    return FactorWorld(dataset=dataset) if name == "factors" else World(scenario=scenario, dataset=dataset)


class Table:
    """Rows in a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[Cell, Row]:
        """Return all rows by cell. A last line that was cut short is not one."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_text().splitlines():
            try:
                stored = json.loads(line)
            except json.JSONDecodeError:
                continue
            cell = Cell(**stored.pop("cell"))
            er, hr, ndcg = ({int(key): value for key, value in stored.pop(name).items()} for name in MEASURES)
            origin = Origin(**stored.pop("origin"))
            found[cell] = Row(cell=cell, er=er, hr=hr, ndcg=ndcg, origin=origin, **stored)
        return found

    def fill(self, asked: Iterable[Cell]) -> Iterator[Row]:
        """Play the cells that are not kept yet, keep each as it ends, and yield it."""
        kept = self.rows()
        for cell in asked:
            if cell in kept:
                continue
            row = play(cell)
            kept[cell] = row
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            yield row
