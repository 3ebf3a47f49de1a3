"""A search from space to best settings: what it costs, trial after trial, and what it leaves."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from fedrec.config import Scenario
from fedrec.data.load import Dataset, load_dataset
from fedrec.errors import BudgetExceededError, ConfigError, FedRecError, LedgerError
from fedrec.optional import optional
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.atomic import write_atomically
from fedrec.toml import to_toml
from simulations.able import without_the_unable
from simulations.progress import Progress, Silence
from simulations.sweeps.cost import Basis, Charges, basis_of, declared, refuse_population, searched_on, sentence
from simulations.sweeps.folder import SweepFolder
from simulations.sweeps.picture import draw_search
from simulations.sweeps.space import Space, with_values
from simulations.sweeps.study import Asked, State, Study, Trial, best_of
from simulations.sweeps.trial import Measured, Stage, measure_openly, measure_privately


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a search is told. ``public``: data to search on instead, which the user names as public.

    ``budget``: epsilon that a charged search may spend, itself alone. ``metric_noise``: standard deviation of the noise
    on a charged trial's sum of the metric, in users. ``prunes``: whether bad trials are cut short.
    """

    scenario: Scenario
    space: Space
    trials: int
    seed: int = 0
    public: str | None = None
    budget: float | None = None
    metric_noise: float = 10.0
    prunes: bool = True


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to. ``epsilon``: what its ledger holds, 0 where nothing is charged."""

    trials: tuple[Trial, ...]
    basis: Basis
    cost: str
    epsilon: float
    notes: tuple[str, ...]

    @property
    def best(self) -> Trial:
        """The best complete trial."""
        return best_of(self.trials)[0]


@dataclass
class Search:
    """A search that is ready to begin: the data is read, the cost is known, nothing is written."""

    question: Question
    progress: Progress = field(default_factory=Silence)

    def __post_init__(self) -> None:
        asked = searched_on(self.question.scenario, self.question.public)
        self.dataset: Dataset = load_dataset(asked.data, asked.run.seed)
        self.scenario, left_out = without_the_unable(asked, self.dataset)
        for note in (*self.dataset.notes, *left_out):
            self.progress.note(note)
        refuse_population(self.question.scenario)
        self.basis = basis_of(self.question.scenario, self.question.public)
        self.charges = self._charges() if self.basis == "charged" else None
        self.cost = sentence(self.basis, self.scenario, self.charges, self.question.trials)
        self._prunes = self.question.prunes and not any(p.key == "training.rounds" for p in self.question.space)

    def run(self, out: Path, *, resume: bool = False) -> Found:
        """Search in ``out`` and leave ``best.toml``, ``trials.json`` and ``search.png`` there.

        Raises ``ConfigError`` where no trial could be run, ``BudgetExceededError`` before anything is written where the
        search would cost more than its budget.
        """
        for package in ("optuna", "matplotlib"):  # before hours of work, not after them
            optional(package, extra="hpo", purpose="fedrec sweep")
        if self.scenario.run.threads:
            torch.set_num_threads(self.scenario.run.threads)
        folder = SweepFolder(out)
        self._refuse_beyond_budget(folder if resume else None)
        with folder.opened(self._told(), resume=resume):
            self.dataset.catalogue.save(folder.catalogue)
            study = Study(folder.journal, self.question.space, seed=self.question.seed, prunes=self._prunes)
            notes = self._work(study, folder)
            return self._conclude(study.finished(), folder, notes)

    # --- before ---------------------------------------------------------------------------------------------------
    def _charges(self) -> Charges:
        return Charges.of(
            self.scenario,
            self.question.space,
            population=self.dataset.log.num_users,
            metric_noise=self.question.metric_noise,
        )

    def _told(self) -> dict[str, Any]:
        question = self.question
        return {
            "scenario": question.scenario.model_dump(mode="json"),
            "space": [asdict(parameter) for parameter in question.space],
            "seed": question.seed,
            "public": question.public,
            "metric noise": question.metric_noise if self.charges else None,
            "pruning": self._prunes,
        }

    def _refuse_beyond_budget(self, folder: SweepFolder | None) -> None:
        if self.charges is None:
            return
        if self.question.budget is None:
            raise ConfigError(
                f"this search needs a budget: it costs epsilon {self.charges.epsilon(self.question.trials):.4g} at "
                f"delta {self.charges.delta:g}; allow it with --budget, or search on public data (--public SOURCE)"
            )
        guarantee = self.charges.plan.guarantee
        before = Ledger(folder.ledger).events(guarantee) if folder is not None and folder.ledger.exists() else []
        done = self._finished_in(folder) if folder is not None else 0
        self.charges.refuse_beyond(self.question.budget, max(self.question.trials - done, 0), before)

    def _finished_in(self, folder: SweepFolder) -> int:
        if not folder.journal.exists():
            return 0
        return len(Study(folder.journal, self.question.space, seed=self.question.seed, prunes=False).finished())

    # --- trials ---------------------------------------------------------------------------------------------------
    def _work(self, study: Study, folder: SweepFolder) -> list[str]:
        while len(study.finished()) < self.question.trials:
            asked = study.ask()
            if asked is None:
                return [f"the space holds nothing that was not tried: stopped after {len(study.finished())} trials"]
            trial = self._try(study, asked, folder)
            self.progress.note(_line(trial, self.scenario.selection.metric))
        return []

    def _try(self, study: Study, asked: Asked, folder: SweepFolder) -> Trial:
        self.progress.note(f"trial {asked.number + 1} of {self.question.trials}: {shown(asked.values)}")
        folder.scratch.mkdir()
        try:
            told = with_values(self.scenario, asked.values, source=f"trial {asked.number + 1}")
            scenario, _ = without_the_unable(told, self.dataset)
            measured = self._measure(scenario, asked, folder)
        except (BudgetExceededError, LedgerError):
            raise
        except FedRecError as error:  # settings that do not go together, or that diverge: an answer too
            return study.tell(asked, "refused", metric=None, round=0, reason=str(error))
        finally:
            shutil.rmtree(folder.scratch, ignore_errors=True)
        state: State = "pruned" if measured.pruned else "complete"
        return study.tell(asked, state, metric=measured.metric, round=measured.round)

    def _measure(self, scenario: Scenario, asked: Asked, folder: SweepFolder) -> Measured:
        stage = self._stage(folder, f"trial-{asked.identifier}")
        if self.charges is None:
            return measure_openly(scenario, stage, asked.look)
        assert self.question.budget is not None  # for the type checker: refused before
        charged = self.charges.on_budget(scenario, len(Ledger(folder.ledger).charges()), self.question.budget)
        return measure_privately(charged, stage, self.charges)

    def _stage(self, folder: SweepFolder, name: str) -> Stage:
        scratch = folder.scratch / name
        return Stage(
            catalogue=self.dataset.catalogue,
            split=self.dataset.splits.selection,
            user_keys=self.dataset.log.user_ids,
            catalogue_folder=folder.catalogue,
            scratch=scratch,
            # what a trial on public data charges is nobody's: its ledger goes with it
            ledger=folder.ledger if self.charges else scratch / "ledger.jsonl",
            progress=self.progress,
        )

    # --- after ----------------------------------------------------------------------------------------------------
    def _conclude(self, trials: Sequence[Trial], folder: SweepFolder, notes: list[str]) -> Found:
        ranked = best_of(trials)
        if not ranked:
            last = next((trial.reason for trial in reversed(trials) if trial.reason), "all were cut short")
            raise ConfigError(f"none of {len(trials)} trials came to an end: {last}")
        found = Found(
            trials=tuple(trials),
            basis=self.basis,
            cost=self.cost,
            epsilon=Ledger(folder.ledger).spent(self.charges.delta, self.charges.plan.guarantee)
            if self.charges
            else 0.0,
            notes=tuple(notes),
        )
        best = declared(with_values(self.question.scenario, found.best.values), self.basis)
        write_atomically(folder.best, to_toml(best.model_dump(mode="json")).encode())
        rows = json.dumps([asdict(trial) for trial in trials], indent=2)
        write_atomically(folder.trials, (rows + "\n").encode())
        write_atomically(folder.picture, draw_search(trials, self.question.space, self.scenario.selection.metric))
        return found


def shown(values: dict[str, Any]) -> str:
    """Return settings in one line, numbers short."""
    return ", ".join(f"{key}={short(value)}" for key, value in values.items())


def short(value: Any) -> str:
    """Return a setting's value as a person reads it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(trial: Trial, metric: str) -> str:
    if trial.metric is None:
        return f"trial {trial.number + 1} was refused: {trial.reason}"
    how = f"cut short after {trial.round} rounds" if trial.state == "pruned" else f"after {trial.round} rounds"
    return f"trial {trial.number + 1}: {metric} {trial.metric:.4f} {how}"
