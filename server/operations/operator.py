"""The process beside the server's parts that looks after runs: takes events in, takes runs up again, raises alarms.

``fedrec server up`` starts it. Nothing depends on it while a round goes on, and each of its duties goes on where
another fails: a database that is down is one sentence in the log.
"""

import logging
import random
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from fedrec.errors import FedRecError
from fedrec.runs.folder import RunFolder
from server.door.enrolments import Enrolments
from server.door.flower import SuperLink
from server.door.home import ServerHome, ServerSettings
from server.door.publications import Publications, load_signing_key
from server.door.training import submit
from server.operations.database import OperationsError
from server.operations.pacing import Pacer
from server.operations.rollout import Rollouts, published_oddity
from server.operations.standing import is_deserted, standing_of
from server.operations.store import OperationsStore
from server.operations.under_way import session_of
from server.operations.watch import Watch

logger = logging.getLogger(__name__)

TICK_SECONDS = 2.0
DEVICES_EVERY = 15
"""Ticks between two looks at which devices are online."""
LOW_DISK = 512 << 20
"""Free bytes below which an operator is told; a checkpoint that does not fit pauses the run."""


@dataclass(kw_only=True)
class Operator:
    """Duties by name, each done once a tick."""

    home: ServerHome
    superlink: SuperLink
    open_store: Callable[[], OperationsStore]
    watch: Watch
    clock: Callable[[], float] = time.time
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    duties: Mapping[str, Callable[[OperationsStore], None]] = field(default_factory=dict)
    """More that is done with the store, once a tick, by name."""
    _store: OperationsStore | None = None
    _ticks: int = 0
    _failing: dict[str, str] = field(default_factory=dict)

    def tick(self) -> None:
        """Do every duty once."""
        self._attempt("watch", self._look)
        self._attempt("store", self._keep)
        self._ticks += 1

    def alarm(self, run: str, kind: str, text: str) -> None:
        """Log an alarm and put it down; a store that does not answer has no part in that."""
        logger.error("alarm %s: %s", kind, text)
        if self._store is not None:
            with suppress(OperationsError):
                self._store.raise_alarm(time=self.clock(), run=run, kind=kind, text=text)

    def _look(self) -> None:
        self.watch.look()

    def _keep(self) -> None:
        if self._store is None:
            self._store = self.open_store()
        store = self._store
        for folder in sorted(self.home.runs.glob("*/config.toml")):
            self._attempt(f"events of {folder.parent.name}", partial(_take_in, store, folder.parent))
        self._attempt("disk", self._look_at_disk)
        if self._ticks % DEVICES_EVERY == 0:
            self._attempt("devices", lambda: self._look_at_devices(store))
        for name, duty in self.duties.items():
            self._attempt(name, partial(duty, store))

    def _look_at_disk(self) -> None:
        free = self.free(self.home.path)
        if free < LOW_DISK:
            kind, where = "disk", self.home.path
            self.alarm("", kind, f"less than {LOW_DISK >> 20} MiB are free on the disk of {where}: make room")

    def _look_at_devices(self, store: OperationsStore) -> None:
        online = {node.public_key for node in self.superlink.nodes() if node.status == "online"}
        enrolled = Enrolments.open(self.home.enrolments).devices()
        states = {
            device.key: (device.owner, device.left or ("online" if device.public_key in online else "offline"))
            for device in enrolled
        }
        store.set_devices(states)

    def _attempt(self, name: str, act: Callable[[], object]) -> None:
        """Do a duty; say once what keeps it from being done, and once that it is done again."""
        try:
            act()
        except (FedRecError, OSError) as error:
            if self._failing.get(name) != str(error):
                logger.warning("%s: %s", name, error)
            self._failing[name] = str(error)
        else:
            if self._failing.pop(name, None):
                logger.info("%s: works again", name)


def _take_in(store: OperationsStore, folder: Path) -> None:
    """Take in a run's new events; its budget too, when it is seen for the first time."""
    known = store.run(folder.name)
    while store.ingest(folder):
        pass
    if known is None and store.run(folder.name) is not None:
        privacy = RunFolder.open(folder).scenario().privacy
        if privacy.enabled:
            delta = privacy.delta if isinstance(privacy.delta, float) else None  # auto: by the population, unknown here
            store.set_budget(folder.name, epsilon=privacy.epsilon, delta=delta)


def _paced(
    home: ServerHome, settings: ServerSettings, superlink: SuperLink, publications: Publications
) -> dict[str, Callable[[OperationsStore], None]]:
    """Return the duty of telling devices when to come, where settings ask for it."""
    if settings.pace == "off":
        if publications.orders().pace is not None:
            publications.pace(None)
        return {}
    enrolled = partial(Enrolments.open, home.enrolments)
    pacer = Pacer(
        publications,
        online=lambda: {node.public_key for node in superlink.nodes() if node.status == "online"},
        devices=lambda: sum(not device.left for device in enrolled().devices()),
        clock=time.time,
        draw=random.uniform,
    )
    return {"pace": lambda store: pacer.look()}


def make_operator(home: ServerHome, settings: ServerSettings) -> Operator:
    """Return the operator of a server's folder."""
    superlink = SuperLink.of(home, settings)
    publications = Publications(home.public, load_signing_key(home.signing_key))
    operator: Operator

    def alarm(run: str, kind: str, text: str) -> None:
        operator.alarm(run, kind, text)

    watch = Watch(
        path=home.under_way,
        superlink=superlink,
        submit=lambda run: submit(superlink, publications, RunFolder(home.runs / run)),
        standing=lambda run: standing_of(home.runs / run),
        session=lambda: session_of(home.session),
        clock=time.time,
        alarm=alarm,
        deserted=lambda run, since: is_deserted(home.runs / run, since),
    )
    look_at = lru_cache(maxsize=4)(partial(published_oddity, publications))  # a version's files do not change

    def roll_out(store: OperationsStore) -> None:
        Rollouts(publications=publications, store=store, clock=time.time, look_at=look_at).look()

    operator = Operator(
        home=home,
        superlink=superlink,
        open_store=lambda: OperationsStore.of(home, settings),
        watch=watch,
        duties={"roll-out": roll_out, **_paced(home, settings, superlink, publications)},
    )
    return operator
