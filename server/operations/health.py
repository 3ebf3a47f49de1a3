"""Whether a server is ready to train, and Prometheus metrics of its runs. For this machine alone; nginx passes neither.

No label tells a device, an owner, a user or an item. Numbers of devices are coarse (``server.door.metrics.coarse``).
"""

import collections
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from fedrec.errors import FedRecError
from server.door.home import ServerHome, ServerSettings
from server.door.metrics import coarse
from server.operations.store import OperationsStore
from server.operations.under_way import UnderWay

LEAST_DISK = 256 << 20
"""Free bytes below which a server is not ready: a checkpoint may not fit."""
LONGEST_ROUND = 6 * 3600.0
"""Seconds without a committed round after which a run that is under way counts as stuck, unless it is paused."""


@dataclass(kw_only=True)
class Health:
    """Looks at a server. ``answers``: whether its SuperLink does; ``open_store`` opens the operations database."""

    home: ServerHome
    answers: Callable[[], bool]
    open_store: Callable[[], OperationsStore]
    clock: Callable[[], float] = time.time
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    _store: OperationsStore | None = None

    def problems(self) -> dict[str, str]:
        """Return what keeps the server from being ready, a sentence by what was looked at; empty if it is."""
        looks = {"superlink": self._superlink, "disk": self._disk, "database": self._database, "run": self._run}
        found = {}
        for name, look in looks.items():
            try:
                problem = look()
            except (FedRecError, OSError) as error:
                problem = str(error)
            if problem:
                found[name] = problem
        return found

    def metrics(self) -> str:
        """Return the runs' metrics in Prometheus' text form; only that it is down, where the database is."""
        registry = CollectorRegistry()
        up = Gauge("fedrec_operations_database_up", "Whether the operations database answers.", registry=registry)
        try:
            self._of_runs(self._open(), registry)
            up.set(1)
        except FedRecError:
            up.set(0)
        return generate_latest(registry).decode()

    def _of_runs(self, store: OperationsStore, registry: CollectorRegistry) -> None:
        alarms = collections.Counter(alarm.kind for alarm in store.alarms(open_only=True))
        shown = Gauge("fedrec_alarms_open", "Alarms that nobody has seen to, by kind.", ("kind",), registry=registry)
        for kind, count in sorted(alarms.items()):
            shown.labels(kind).set(count)
        raised = Counter("fedrec_alarms", "Alarms that were ever raised, by kind.", ("kind",), registry=registry)
        for kind, count in store.alarm_counts().items():
            raised.labels(kind).inc(count)
        run = next(iter(store.runs()), None)
        if run is None:
            return
        standings = store.standings(run.run)
        rounds = Gauge("fedrec_rounds", "Rounds of the last run by standing.", ("standing",), registry=registry)
        for standing in ("committed", "abandoned"):
            rounds.labels(standing).set(standings.get(standing, 0))
        Gauge("fedrec_run_paused", "Whether the last run is paused.", registry=registry).set(run.standing == "paused")
        Gauge("fedrec_run_resumed", "Times that it was taken up again.", registry=registry).set(run.resumed)
        if run.last_committed is not None:
            age = Gauge("fedrec_last_commit_age_seconds", "Since its last committed round.", registry=registry)
            age.set(max(self.clock() - run.last_committed, 0.0))
        spent = store.budget(run.run).spent
        if spent:
            Gauge("fedrec_run_epsilon", "Spent by its releases, at its delta.", registry=registry).set(spent[-1][1])
        self._of_last_round(store, run.run, registry)

    def _of_last_round(self, store: OperationsStore, run: str, registry: CollectorRegistry) -> None:
        last = next((round_ for round_ in reversed(store.rounds(run, last=3)) if round_.closed is not None), None)
        if last is None:
            return
        if last.seconds is not None:
            Gauge("fedrec_round_seconds", "Of its last closed round.", registry=registry).set(last.seconds)
        nodes = Gauge("fedrec_round_nodes", "Nodes of that round, in tens.", ("outcome",), registry=registry)
        for outcome in ("taken", "refused", "quarantined", "silent"):
            number = coarse(getattr(last, outcome))
            if number is not None:
                nodes.labels(outcome).set(number)

    def _superlink(self) -> str:
        return "" if self.answers() else "the SuperLink does not answer"

    def _disk(self) -> str:
        free = self.free(self.home.path)
        return f"{free >> 20} MiB are free on the disk, {LEAST_DISK >> 20} are needed" if free < LEAST_DISK else ""

    def _database(self) -> str:
        self._open().runs()
        return ""

    def _run(self) -> str:
        under_way = UnderWay.read(self.home.under_way)
        if under_way is None:
            return ""
        view = self._open().run(under_way.run)
        last = max(view.last_committed or view.began, under_way.since) if view else under_way.since
        if (view is not None and view.standing == "paused") or self.clock() - last < LONGEST_ROUND:
            return ""
        return f"{under_way.run} has committed no round for {(self.clock() - last) / 3600:.0f} hours"

    def _open(self) -> OperationsStore:
        if self._store is None:
            self._store = self.open_store()
        return self._store


def make_health(home: ServerHome, settings: ServerSettings, answers: Callable[[], bool]) -> Health:
    """Return the health of a server's folder."""
    return Health(home=home, answers=answers, open_store=lambda: OperationsStore.of(home, settings))
