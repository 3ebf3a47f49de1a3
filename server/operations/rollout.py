"""Rolling a served model out to 1 %, 10 %, then all devices, and taking it back by itself when it does worse.

What a share of the devices had is compared with what the others had, by aggregated figures that somebody may see: of at
least ``SMALLEST`` devices, released or measured by the operator's own means. Devices report none of them by themselves:
``fedrec server figures`` and a run's released quality are where they come from. Without figures a roll-out goes on only
when an operator says so.
"""

import logging
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update

from fedrec.errors import ConfigError
from fedrec.signing.orders import PERMILLE
from server.door.metrics import SMALLEST
from server.door.publications import Publications
from server.door.served import oddity
from server.operations import tables
from server.operations.database import speaking, upsert
from server.operations.store import OperationsStore

logger = logging.getLogger(__name__)

STAGES = (10, 100, PERMILLE)
"""Of a thousand devices."""
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a model may be worse by than the one before it, relative, before it is taken back; when it goes further."""

    latency: float = 0.20
    """A list takes longer by this share."""
    quality: float = 0.10
    """Its quality is lower by this share."""
    soak_seconds: float = 24 * 3600.0
    """At each stage at least, with good figures, before the next."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Means over at least ``SMALLEST`` devices that had one version. None: not measured.

    ``odd``: name of the figure that was measured and was no number; it is None here.
    """

    version: int
    devices: int
    latency_ms: float | None = None
    quality: float | None = None
    odd: str = ""

    def __post_init__(self) -> None:
        if self.devices < SMALLEST:
            raise ConfigError(f"figures of {self.devices} devices are not taken: means are of at least {SMALLEST}")
        for name in ("latency_ms", "quality"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                object.__setattr__(self, "odd", name)
                object.__setattr__(self, name, None)
            elif value is not None and value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")


@dataclass(frozen=True, kw_only=True)
class RolloutView:
    """A roll-out. ``standing``: ``going``, ``done`` or ``taken-back``; ``since``: of its stage."""

    version: int
    base: int
    permille: int
    standing: str
    since: float
    why: str


def trouble(canary: Figures | None, rest: Figures | None, bounds: Bounds) -> str | None:
    """Return why a model is to be taken back, None for nothing that speaks against it.

    A figure that is not a number counts against it. Where one of the two has no figures, nothing is said.
    """
    if canary is None:
        return None
    if canary.odd:
        return f"its {canary.odd} is not a number"
    if rest is None:
        return None
    if canary.latency_ms is not None and rest.latency_ms:
        more = canary.latency_ms / rest.latency_ms - 1
        if more >= bounds.latency - _ROUNDING:
            return f"a list takes {more:.0%} longer ({canary.latency_ms:g} ms, before {rest.latency_ms:g} ms)"
    if canary.quality is not None and rest.quality:
        less = 1 - canary.quality / rest.quality
        if less >= bounds.quality - _ROUNDING:
            return f"its quality is {less:.0%} lower ({canary.quality:g}, before {rest.quality:g})"
    return None


def is_judged(canary: Figures | None, rest: Figures | None) -> bool:
    """Return whether there is a figure of both that can be compared."""
    if canary is None or rest is None:
        return False
    pairs = ((canary.latency_ms, rest.latency_ms), (canary.quality, rest.quality))
    return any(one is not None and other is not None for one, other in pairs)


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Roll-outs of one server. ``look_at``: what is wrong with a published version, None for nothing."""

    publications: Publications
    store: OperationsStore
    clock: Callable[[], float]
    look_at: Callable[[int], str | None] = lambda version: None
    bounds: Bounds = Bounds()

    def begin(self, version: int, base: int) -> RolloutView:
        """Note that ``version`` was published for the first stage's devices, beside ``base``, which all others have."""
        values = {"base": base, "permille": STAGES[0], "standing": "going", "since": self.clock(), "why": ""}
        with speaking(self.store.url), self.store.engine.begin() as connection:
            upsert(connection, tables.rollouts, {"version": version}, values)
        return RolloutView(version=version, base=base, permille=STAGES[0], standing="going", since=self.clock(), why="")

    def current(self) -> RolloutView | None:
        """Return the roll-out that the standing orders tell of, None where there is none.

        The orders are what counts: one whose note was lost is returned as begun now.
        """
        orders = self.publications.orders()
        if not orders.canary_version:
            return None
        known = next((view for view in self.all() if view.version == orders.canary_version), None)
        view = known or self.begin(orders.canary_version, orders.model_version)
        return RolloutView(**{**vars(view), "permille": orders.canary_permille})

    def all(self) -> list[RolloutView]:
        """Return all roll-outs, the latest first."""
        return rollouts_of(self.store)

    def advance(self) -> RolloutView:
        """Go to the next stage; ``ConfigError`` where nothing is being rolled out."""
        view = self.current()
        if view is None:
            raise ConfigError("no model is being rolled out: 'fedrec server publish --canary' begins it")
        permille = next(stage for stage in STAGES if stage > view.permille)
        self.publications.roll_out(permille)
        return self._put(view, permille, "done" if permille == PERMILLE else "going", "")

    def take_back(self, why: str) -> RolloutView:
        """Publish what all others have as the next version, for all; ``ConfigError`` where nothing is rolled out."""
        view = self.current()
        if view is None:
            raise ConfigError("no model is being rolled out: take an earlier version back by its number")
        if not view.base:
            raise ConfigError("there is no earlier model to go back to: publish a good one to all devices")
        self.publications.republish("model", view.base)
        return self._put(view, view.permille, "taken-back", why)

    def record(self, figures: Figures) -> None:
        """Put down what devices with one version had."""
        row = {"time": self.clock(), **vars(figures)}
        with speaking(self.store.url), self.store.engine.begin() as connection:
            connection.execute(tables.figures.insert().values(row))

    def figures(self, version: int, since: float = 0.0) -> Figures | None:
        """Return the latest figures of a version; None where there are none ``since``."""
        table = tables.figures
        columns = [table.c[name] for name in Figures.__dataclass_fields__]
        query = select(*columns).where(table.c.version == version, table.c.time >= since).order_by(table.c.id.desc())
        with speaking(self.store.url), self.store.engine.connect() as connection:
            row = connection.execute(query.limit(1)).first()
        return Figures(**row._mapping) if row else None

    def look(self) -> RolloutView | None:
        """Take a roll-out back that does worse, let a good one go on; return it where something was done."""
        view = self.current()
        if view is None:
            return None
        canary, rest = self.figures(view.version, view.since), self.figures(view.base)
        why = self.look_at(view.version) or trouble(canary, rest, self.bounds)
        if why:
            self._alarm(view, why)
            return self.take_back(why)
        soaked = self.clock() >= view.since + self.bounds.soak_seconds
        return self.advance() if soaked and is_judged(canary, rest) else None

    def _alarm(self, view: RolloutView, why: str) -> None:
        text = f"model {view.version} is taken back from {view.permille / 10:g} % of the devices: {why}"
        logger.error("alarm canary: %s", text)
        self.store.raise_alarm(time=self.clock(), kind="canary", text=text)

    def _put(self, view: RolloutView, permille: int, standing: str, why: str) -> RolloutView:
        values = {"permille": permille, "standing": standing, "since": self.clock(), "why": why}
        table = tables.rollouts
        with speaking(self.store.url), self.store.engine.begin() as connection:
            connection.execute(update(table).where(table.c.version == view.version).values(**values))
        return RolloutView(**{**vars(view), **values})


def rollouts_of(store: OperationsStore) -> list[RolloutView]:
    """Return all roll-outs that were noted, the latest first."""
    with speaking(store.url), store.engine.connect() as connection:
        rows = connection.execute(select(tables.rollouts).order_by(tables.rollouts.c.version.desc()))
        return [RolloutView(**row._mapping) for row in rows]


def published_oddity(publications: Publications, version: int) -> str | None:
    """Return what is wrong with a published model, whatever devices say: damaged, or not finite; None for nothing."""
    with tempfile.TemporaryDirectory(prefix="fedrec-canary-") as name:
        folder = Path(name)
        for file, published in publications.manifest("model", version).files.items():
            (folder / file).symlink_to(publications.path_of(published).resolve())
        return oddity(folder)
