"""One training phase of a simulation: users on nodes, rounds in their place, quality measured from the outside.

Measuring reads every user's held-out events and private parameters, without noise. That is a simulation's privilege:
no message carries it, and the rows that it yields are marked as the researcher's own.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clients.app import make_client_app
from fedrec.config import Scenario
from fedrec.data.canaries import Canaries
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.data.splits import Split
from fedrec.errors import FedRecError
from fedrec.evaluation.metrics import RankingResult, evaluate_ranking
from fedrec.flower.events import Event, Fact, What
from fedrec.flower.state import RoundReport, RunState
from fedrec.flower.terms import Hooks
from fedrec.models import FusedRecommender, PrivateState, SharedState, build_model
from fedrec.models.fusion import fusion_weights
from fedrec.training.cold_items import with_cold_items
from fedrec.training.scoring import fold_in, score_users
from server.app import make_server_app, metrics_row
from server.federation import Federation, Outcome
from simulations.able import BY_TIME
from simulations.canary_users import with_canary_node
from simulations.places import run_in
from simulations.population import locate_in, node_folder, private_reader, willing, write_nodes
from simulations.progress import Progress

Row = dict[str, Any]
MOST_MEASURES = 24
"""Measures that one event tells."""
WRITTEN = "written"
"""File among the nodes' folders that is there once all of them are, and holds their number."""
Found = TypeVar("Found", NDArray[np.float32], dict[str, NDArray[np.float32]])


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a phase keeps its things."""

    nodes: Path
    catalogue: Path
    ledger: Path
    checkpoints: Path | None


@dataclass(kw_only=True)
class Traffic:
    """Messages and bytes, summed over the phase: all of them, and those of training rounds alone.

    A round that is told twice counts once; of one that was abandoned, so does each attempt.
    """

    _rounds: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Nodes asked, bytes down and bytes up, by round."""
    _abandoned: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def of_rows(cls, rows: Iterable[Row]) -> "Traffic":
        """Return what a run's rows say of the rounds that it has played before."""
        traffic = cls()
        for row in rows:
            if "bytes_up" in row:
                traffic._rounds[row["round"]] = row.get("asked", 0), row["bytes_down"], row["bytes_up"]
        return traffic

    def add(self, report: RoundReport) -> None:
        """Count a round."""
        counted = report.asked, report.bytes_down, report.bytes_up
        if report.abandoned is None:
            self._rounds[report.round] = counted
        else:
            self._abandoned.append(counted)

    @property
    def bytes_down(self) -> int:
        """Of all rounds."""
        return sum(down for _, down, _ in [*self._rounds.values(), *self._abandoned])

    @property
    def bytes_up(self) -> int:
        """Of all rounds."""
        return sum(up for _, _, up in [*self._rounds.values(), *self._abandoned])

    @property
    def messages(self) -> int:
        """Of training rounds."""
        return sum(asked for asked, _, _ in self._training())

    @property
    def rounds_down(self) -> int:
        """Bytes of training rounds."""
        return sum(down for _, down, _ in self._training())

    @property
    def rounds_up(self) -> int:
        """Bytes of training rounds."""
        return sum(up for _, _, up in self._training())

    @property
    def start_up(self) -> float:
        """Bytes that one node sent before training."""
        asked, _, up = self._rounds.get(0, (0, 0, 0))
        return up / max(asked, 1)

    @property
    def rounds(self) -> int:
        """Training rounds."""
        return len(self._training())

    def _training(self) -> list[tuple[int, int, int]]:
        return [counted for number, counted in self._rounds.items() if number]


@dataclass(kw_only=True)
class Phase:
    """A phase under way: trains on ``split.train`` and looks at ``split.targets`` every so many rounds."""

    name: str
    scenario: Scenario
    catalogue: Catalogue
    split: Split
    user_keys: tuple[str, ...]
    layout: Layout
    progress: Progress
    look_every: int
    """Rounds between measurements; 0 measures none on the way."""
    on_row: Callable[[Row], None]
    on_event: Callable[[Event], None] = lambda event: None
    canaries: Canaries | None = None
    """Users who are trained on beside those of ``split``, and never measured; ``catalogue`` has their items last."""
    should_stop: Callable[[int, Mapping[str, float]], bool] = lambda round, metrics: False
    """Asked after each measurement on the way."""
    traffic: Traffic = field(default_factory=Traffic)
    _outcomes: list[Outcome] = field(default_factory=list)
    _stop: bool = False

    def train(self) -> Outcome:
        """Write the nodes' folders, run the federation in its place, and return how it ended."""
        self.progress.phase(self.name, self.scenario.played.all_rounds)
        num_nodes, locate = self._write_nodes(), locate_in(self.layout.nodes)
        real = num_nodes - (self.canaries is not None)
        server_app = make_server_app(lambda context: self._federation(num_nodes), self._outcomes.append)
        client_app = make_client_app(locate)
        if self.canaries is not None:
            own = node_folder(self.layout.nodes, real)
            client_app = with_canary_node(client_app, locate, lambda folder: folder == own)
        federation = self.scenario.federation
        run_in(federation.place, server_app, client_app, num_nodes, ray_address=federation.ray_address)
        if not self._outcomes:
            raise FedRecError(f"the {federation.place} place ended without a result: see its log above")
        return self._outcomes[0]

    def _write_nodes(self) -> int:
        """Write the folders of the users' nodes, and of one more for all canaries; return how many there are.

        Those of a run that goes on are there, with what their users have learned and spent.
        """
        nodes, written = self.layout.nodes, self.layout.nodes / WRITTEN
        if written.is_file():
            return int(written.read_text())
        if self.layout.checkpoints is None or not any(self.layout.checkpoints.glob("round-*")):
            shutil.rmtree(nodes, ignore_errors=True)  # what a process left that died before it had written them all
        number = self._written_anew()
        written.write_text(f"{number}\n")
        return number

    def _written_anew(self) -> int:
        train, canaries = self.split.train, self.canaries
        train = train if BY_TIME in self.scenario.model.members else replace(train, times=None)  # 8 bytes an event
        write = partial(
            write_nodes,
            self.layout.nodes,
            catalogue=self.layout.catalogue,
            policy=willing(self.scenario.privacy, len(train) + (len(canaries) if canaries else 0)),
            device=self.scenario.run.device,
            memory_mib=self.scenario.run.memory_mib,
        )
        real = write(train, num_nodes=self.scenario.federation.nodes, user_keys=self.user_keys)
        if canaries is None:
            return real
        return real + write(canaries.histories(train), num_nodes=1, user_keys=canaries.user_keys, first=real)

    def score(self, state: RunState) -> Callable[[slice], NDArray[np.float32]]:
        """Return the fused scores of the whole catalogue, for slices of the users."""
        return self.scored_by(score_users, state)

    def scored_by(
        self, scorer: Callable[[FusedRecommender, SharedState, PrivateState, Histories], Found], state: RunState
    ) -> Callable[[slice], Found]:
        """Return what a function of ``fedrec.training.scoring`` finds for slices of users, of served items alone."""
        model, local = self.model, self.scenario.training.local
        shared = with_cold_items(model, state.served, self.catalogue, state.popularity)
        stored = private_reader(self.layout.nodes, state.run_id, model, local)
        everyone = np.arange(len(self.split.train), dtype=np.int64)

        def of(rows: slice) -> Found:
            users = everyone[rows]
            histories = self.split.train.take(users)
            kept = local.private_start == "kept"
            private = stored(users) if kept else fold_in(model, shared, histories, local)
            return self.served(scorer(model, shared, private, histories))

        return of

    def served(self, scores: Found) -> Found:
        """Return scores, or several by name, without the columns of reserved items."""
        if self.canaries is None:
            return scores
        if isinstance(scores, dict):
            return {name: self.served(part) for name, part in scores.items()}
        return scores[..., : self.catalogue.num_items - len(self.canaries)]

    def measure(self, state: RunState, list_length: int = 0) -> RankingResult:
        """Rank the targets by the model as it stands, and keep lists of ``list_length`` items."""
        split, ks = self.split, self.scenario.evaluation.ks
        return evaluate_ranking(
            self.score(state), split.train, split.targets, ks, candidates=split.candidates, list_length=list_length
        )

    @property
    def model(self) -> FusedRecommender:
        """The model's structure; its own parameters mean nothing."""
        return build_model(self.scenario.model, self.catalogue, self.scenario.run.seed).to(self.scenario.run.device)

    def fusion(self, shared: SharedState) -> dict[str, float]:
        """Return the fusion weights by branch."""
        return {str(name): value for name, value in fusion_weights(self.scenario.model, shared).items()}

    def _federation(self, num_nodes: int) -> Federation:
        return Federation(
            scenario=self.scenario,
            catalogue=self.catalogue,
            ledger=self.layout.ledger,
            checkpoints=self.layout.checkpoints,
            minimum_nodes=num_nodes,
            hooks=Hooks(on_round=self._on_round, should_stop=lambda report, state: self._stop, on_event=self.on_event),
        )

    def _on_round(self, report: RoundReport, state: RunState) -> None:
        row: Row = {**metrics_row(report, self.name), "fusion": self.fusion(state.shared)}
        if self._is_due(report.round) and report.abandoned is None:
            row["metrics"] = self.measure(state).means()
            self._tell_of(row["metrics"], report.round, state)
            self._stop = self.should_stop(report.round, row["metrics"])
        self.on_row(row)
        self.traffic.add(report)
        self.progress.round(row)

    def _tell_of(self, metrics: Mapping[str, float], number: int, state: RunState) -> None:
        """Tell what was measured as an event too: of a simulation, where nothing of it is released."""
        facts: dict[str, Fact] = dict(list(metrics.items())[:MOST_MEASURES])
        self.on_event(Event(time=time.time(), run_id=state.run_id, round=number, what=What.QUALITY, facts=facts))

    def _is_due(self, round: int) -> bool:
        """The last round is measured by whoever concludes."""
        return bool(self.look_every) and round % self.look_every == 0 and round < self.scenario.played.all_rounds
