"""The server app: composes a run and trains it on the grid that Flower, or the in-process place, hands over.

A deployed server finds its run folder by ``--run-config 'run="/path"'``, or by the environment's ``FEDREC_RUN``; its
list of devices in the server's folder, by the environment's ``FEDREC_SERVER`` alone: who may submit a run cannot choose
whom it believes.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrec.config import Scenario
from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError
from fedrec.flower.enrolment import Enrolment
from fedrec.flower.exchange import streaming
from fedrec.flower.state import RoundReport
from fedrec.flower.terms import Hooks
from fedrec.runs.folder import RunFolder
from fedrec.runs.privacy_report import account_for
from server.door.enrolments import Enrolments
from server.door.home import ServerHome
from server.federation import Federation, Outcome
from server.operations.gate import Gate
from server.operations.logs import log_as_json
from server.reputation import Reputations

logger = logging.getLogger(__name__)


def make_server_app(compose: Callable[[Context], Federation], deliver: Callable[[Outcome], None]) -> ServerApp:
    """Return the server app that trains what ``compose`` returns and hands the outcome to ``deliver``."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        deliver(compose(context).train(streaming(grid)))

    return app


def deployed() -> ServerApp:
    """Return the server app of a run folder, which leaves the privacy report in it when the run has ended."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        federation_of(context).train(streaming(grid))
        account_for(RunFolder.open(_run_path(context)))

    return app


def federation_of(context: Context) -> Federation:
    """Compose the run of a run folder, which must hold a scenario and a catalogue."""
    folder = RunFolder.open(_run_path(context))
    scenario, gate = _dated(folder), Gate(folder)
    return Federation(
        scenario=scenario,
        catalogue=Catalogue.load(folder.catalogue),
        ledger=folder.ledger_path,
        checkpoints=folder.checkpoints,
        minimum_nodes=scenario.federation.nodes,
        hooks=Hooks(
            before_round=gate.before_round,
            on_round=lambda report, state: folder.append_metrics(metrics_row(report)),
            on_event=gate.on_event,
        ),
        enrolment=_enrolment(),
        reputations=_reputations(),
    )


def _enrolment() -> Enrolment | None:
    """Return the server's list of devices; None, with a warning, where no server's folder is named."""
    folder = os.environ.get("FEDREC_SERVER")
    if folder:
        log_as_json()
        return Enrolments.open(ServerHome(Path(folder)).enrolments)
    logger.warning(
        "no list of devices: cards and replies are taken unsigned, from whoever Flower lets in; set FEDREC_SERVER to "
        "the server's folder ('fedrec server init') to take those of enrolled devices alone"
    )
    return None


def _reputations() -> Reputations | None:
    folder = os.environ.get("FEDREC_SERVER")
    return Reputations(ServerHome(Path(folder)).reputation) if folder else None


def metrics_row(report: RoundReport, phase: str = "final") -> dict[str, object]:
    """Return a report as a row of ``metrics.jsonl``."""
    return {
        "round": report.round,
        "phase": phase,
        "cohort": report.num_users,
        "asked": report.asked,
        "bytes_down": report.bytes_down,
        "bytes_up": report.bytes_up,
        "seconds": report.seconds,
        "epsilon": report.epsilon,
        **({"void": True} if report.void else {}),
        **({} if report.staleness is None else {"staleness": report.staleness}),
        **({"quarantined": report.reasons} if report.reasons else {}),
        **({} if report.within is None else {"clip_norm": report.clip_norm, "within": report.within}),
    }


def _dated(folder: RunFolder) -> Scenario:
    """Return a run's scenario; a calendar without end ends now, which is written down for whoever resumes the run."""
    scenario = folder.scenario()
    if "recent-popularity" not in scenario.model.members or scenario.model.recency_end is not None:
        return scenario
    dated = scenario.model_copy(update={"model": scenario.model.model_copy(update={"recency_end": time.time()})})
    folder.write_scenario(dated)
    return dated


def _run_path(context: Context) -> Path:
    path = context.run_config.get("run") or os.environ.get("FEDREC_RUN")
    if not path:
        raise ConfigError("no run folder: flwr run --run-config 'run=\"PATH\"', or set FEDREC_RUN for the SuperLink")
    return Path(str(path))


app = deployed()
