"""Watches a whole small run: whether what is promised comes before what it promises, and what leaves the devices.

The server, its ledger, the client app and the nodes' stores are the production's. What is looked at is what anybody
could look at: messages, files, and the moments at which they are written (``simulations.audits.conduct.watch``).
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clients.app import make_client_app
from fedrec.audit.findings import Check, Findings
from fedrec.config import Scenario
from fedrec.errors import FedRecError
from fedrec.flower.identity import task_identity
from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import Mechanism
from server.federation import Federation
from simulations.audits.checks import findings, not_run
from simulations.audits.conduct.bookkeeping import bookkeeping_checks
from simulations.audits.conduct.cohorts import cohort_checks
from simulations.audits.conduct.devices import Seen, device_checks, look_at_devices
from simulations.audits.conduct.messages import independence_check, message_checks
from simulations.audits.conduct.watch import Watch, WatchedGrid
from simulations.audits.probe import Probe, Size, probe_of
from simulations.grid import InProcessGrid
from simulations.population import PARTITION, locate_in

WATCHED_RUN = "conduct-run"
"""Name of the check that stands for the watched run where it was not made, or not to its end."""

QUICK, FULL = Size(users=8, nodes=2), Size(users=18, nodes=4, rounds=5)

UNTESTED = (
    "Conduct was watched on a small run of made-up users: software that behaves otherwise elsewhere is not seen.",
    "Whether a line of the ledger survives a loss of power cannot be seen from within a running machine.",
)


@dataclass(kw_only=True)
class Watched:
    """A run that was watched to its end. ``failed``: why it ended early, empty if it did not."""

    probe: Probe
    folder: Path
    watch: Watch
    initial: SharedState
    seen: list[Seen] = field(default_factory=list)
    failed: str = ""


def conduct_findings(
    scenario: Scenario, *, mechanisms: Sequence[Mechanism] = (), seed: int, quick: bool = False
) -> Findings:
    """Return what a watched run under a scenario's promises did that it should not have done.

    ``mechanisms``: of the audited run's releases, if known. ``quick``: fewer rounds of fewer people.
    """
    return findings(conduct_checks(scenario, mechanisms=mechanisms, seed=seed, quick=quick), UNTESTED)


def conduct_checks(
    scenario: Scenario, *, mechanisms: Sequence[Mechanism] = (), seed: int, quick: bool = False
) -> Iterator[Check]:
    """Yield the checks of ``conduct_findings``, cheap ones first."""
    if not scenario.privacy.enabled:
        yield not_run(
            WATCHED_RUN, "Does the run keep to its protocol?", "privacy.enabled is false: the run claims nothing"
        )
        return
    with tempfile.TemporaryDirectory(prefix="fedrec-audit-") as folder:
        yield from _watched_checks(scenario, mechanisms, seed, Path(folder), quick=quick)


def _watched_checks(
    scenario: Scenario, mechanisms: Sequence[Mechanism], seed: int, folder: Path, *, quick: bool
) -> Iterator[Check]:
    probe = probe_of(scenario, mechanisms, seed=seed, size=QUICK if quick else FULL)
    run = watched(probe, folder / "one")
    yield from bookkeeping_checks(run.watch, run.initial)
    yield from message_checks(run.watch, run.initial, probe.catalogue.num_items)
    yield from device_checks(run.watch, run.seen)
    if run.failed:
        yield not_run(WATCHED_RUN, "Does the watched run come to its end?", f"it did not: {run.failed}")
        return
    yield from cohort_checks(scenario, mechanisms, seed, folder / "cohorts", quick=quick)
    other = watched(probe, folder / "other", draw=1, stop_after=1 if quick else None)
    yield independence_check(run.watch, other.watch)


def watched(probe: Probe, folder: Path, draw: int = 0, stop_after: int | None = None) -> Watched:
    """Run a probe's federation on its own nodes, with other people for another ``draw``, and return what was seen."""
    nodes = probe.write(folder, probe.histories(draw))
    watch = Watch(ledger=folder / "ledger.jsonl", lose=1, stop_after=stop_after)
    federation = Federation(
        scenario=probe.scenario,
        catalogue=probe.catalogue,
        ledger=watch.ledger,
        checkpoints=folder / "checkpoints",
        minimum_nodes=nodes,
        randomness=watch.randomness(probe.scenario.run.seed, probe.scenario.run.seed),
        run_id="audit",
        hooks=watch.hooks(),
    )
    run = Watched(probe=probe, folder=folder, watch=watch, initial=federation.initial())
    watch.on_reply = lambda sent: run.seen.append(look_at_devices(probe, folder / "nodes", sent))
    app = make_client_app(locate_in(folder / "nodes"))
    grid = InProcessGrid(app, [{PARTITION: number} for number in range(nodes)])
    try:
        with task_identity(run_id=1):
            federation.train(WatchedGrid(grid, watch))
    except FedRecError as error:
        run.failed = str(error)
    return run
