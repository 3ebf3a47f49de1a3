"""A simulation from scenario to run folder: choose, train, measure, compare with the floors, report."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from fedrec.baselines.dp_popularity import whole_budget
from fedrec.baselines.floors import DPRelease, Floor, floor_notes, measure_floors
from fedrec.config import Scenario, TrainingConfig
from fedrec.data.canaries import Canaries
from fedrec.data.catalogue import Catalogue
from fedrec.data.load import Dataset, load_dataset
from fedrec.errors import ConfigError
from fedrec.evaluation.bootstrap import result_intervals
from fedrec.evaluation.metrics import RankingResult
from fedrec.evaluation.sampled import evaluate_sampled, fixed_negatives
from fedrec.flower.dimensions import dimensions_of
from fedrec.flower.state import RunState
from fedrec.models import FusedRecommender, build_model
from fedrec.privacy.accounts.population import check_population
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.planning.run import plan_run
from fedrec.runs.canaries import write_canaries
from fedrec.runs.folder import RunFolder
from fedrec.runs.labels import headline_metrics
from fedrec.runs.privacy_report import account_for, interaction_summary
from fedrec.runs.report import write_report
from fedrec.runs.summary import Summary
from fedrec.statistics.collection import statistics_template
from fedrec.tracking.group import TrackerGroup
from fedrec.training.memory import least_memory_mib
from server.federation import Outcome
from simulations.ablation import ALONE, measure_parts
from simulations.able import without_the_unable
from simulations.appraisal import Appraisal, appraise
from simulations.canary_users import plant
from simulations.phase import Layout, Phase, Row, Traffic
from simulations.progress import Progress, Silence
from simulations.ratings import measure_ratings, predicts_ratings, refuse_unfit_ratings
from simulations.selection import EarlyStop
from simulations.summarise import Findings, summarise


def simulate(scenario: Scenario, out: Path, *, progress: Progress | None = None) -> Summary:
    """Run ``scenario`` and leave a complete run folder at ``out``; return its summary.

    Everything that can be refused is refused before ``out`` is made. Raises ``FedRecError``s that name what is wrong.
    """
    simulation = _Simulation(scenario, out, progress or Silence())
    try:
        return simulation.run()
    finally:
        simulation.trackers.end(None)


def resume(out: Path, *, progress: Progress | None = None) -> Summary:
    """Go on with a run that was ended before its last round, and return its summary.

    The scenario is the folder's, and so are nodes, ledger and checkpoints: what was committed stays, and a round that
    was under way goes on from where it was. The result is that of a run that was not interrupted, for the same seeds.
    Raises ``ConfigError`` if ``out`` is no run, or was simulated to its end.
    """
    folder = RunFolder.open(out)
    if folder.summary_path.is_file():
        raise ConfigError(f"{out} has ended: its summary.json is there; 'fedrec compare {out}' shows it")
    simulation = _Simulation(folder.scenario(), out, progress or Silence(), resumed=True)
    try:
        return simulation.run()
    finally:
        simulation.trackers.end(None)


class _Simulation:
    """The steps of one simulation, in the order of ``run``. ``resumed``: ``out`` holds a run to go on with."""

    def __init__(self, scenario: Scenario, out: Path, progress: Progress, *, resumed: bool = False) -> None:
        self.scenario = scenario
        self.out = out
        self.resumed = resumed
        self.progress = progress
        self.began = datetime.now(UTC)
        self.trackers = TrackerGroup.of(scenario, out / "tracking")
        self.dataset = self._load()
        self.notes = list(self.dataset.notes)
        self.scenario, left_out = without_the_unable(scenario, self.dataset)
        for note in left_out:
            self._note(note)
        self.canaries, self.catalogue = self._planted()

    def run(self) -> Summary:
        if self.scenario.run.threads:
            torch.set_num_threads(self.scenario.run.threads)
        self._refuse_what_cannot_work()
        folder = RunFolder.open(self.out) if self.resumed else RunFolder.create(self.out, self.scenario)
        self.trackers.begin(self.scenario)
        self.catalogue.save(folder.catalogue)
        if self.canaries is not None:
            write_canaries(folder.canaries_path, self.canaries)
        clock = time.monotonic()
        scenario = self._with_chosen_rounds(folder)
        final = self._final_phase(scenario, folder)
        outcome = final.train()
        trained = time.monotonic()
        result = final.measure(outcome.state, list_length=max(self.scenario.evaluation.ks))
        sampled = self._sampled(final, outcome.state)
        ratings = measure_ratings(final, outcome.state) if predicts_ratings(scenario) else {}
        self._last_row(folder, final, outcome, result)
        measured = time.monotonic()
        self.progress.phase("floors", 0)
        floors = self._floors()
        appraisal = self._appraise(final, outcome.state, result, floors)
        ablation = measure_parts(final, outcome.state, result, scenario.evaluation, self._bootstrap_rng())
        findings = Findings(
            scenario=scenario,
            dataset=self.dataset,
            outcome=outcome,
            traffic=final.traffic,
            fusion=final.fusion(outcome.state.shared),
            result=result,
            intervals=self._intervals(result),
            sampled=sampled,
            ratings=ratings,
            floors=floors,
            appraisal=appraisal,
            ablation=ablation,
            began=self.began,
            seconds={
                "training": trained - clock,
                "evaluation": measured - trained,
                "floors": time.monotonic() - measured,
            },
            notes=tuple(self.notes),
        )
        return self._conclude(folder, findings)

    # --- before anything is written -------------------------------------------------------------------------------
    def _load(self) -> Dataset:
        dataset = load_dataset(self.scenario.data, self.scenario.run.seed)
        for note in dataset.notes:
            self.progress.note(note)
        return dataset

    def _planted(self) -> tuple[Canaries | None, Catalogue]:
        """Return the run's canaries and the catalogue that it trains on: the data's, and their items after it."""
        if not self.scenario.audit.canaries:
            return None, self.dataset.catalogue
        canaries, catalogue = plant(self.scenario, self.dataset.catalogue)
        self._note(
            f"{len(canaries)} canaries are users of this run, with as many items that are never recommended: N is "
            f"{self.dataset.log.num_users} + {len(canaries)}"
        )
        return canaries, catalogue

    def _refuse_what_cannot_work(self) -> None:
        device = self.scenario.run.device
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"run.device={device!r} is not to be had here: set it to cpu, or install its driver"
            ) from error
        if self.scenario.training.local.loss == "mse" and self.dataset.log.ratings is None:
            raise ConfigError(
                f"training.local.loss=mse needs ratings, but {self.dataset.source!r} has none: use data with a column "
                "of ratings, or another loss"
            )
        refuse_unfit_ratings(self.scenario, self.dataset.log)
        model = build_model(self.scenario.model, self.catalogue, self.scenario.run.seed)
        self._refuse_too_little_memory(model)
        statistics_template(self.scenario.model, self.catalogue.num_items)
        if self.scenario.privacy.enabled:
            training, num_items = self.scenario.played, self.catalogue.num_items
            dimensions = dimensions_of(self.scenario.model, training, model.shared_state(), num_items)
            population = self.dataset.log.num_users + self.scenario.audit.canaries
            plan = plan_run(self.scenario.privacy, training, population, dimensions)
            if plan.population is not None:
                check_population(plan.population, plan.guarantee)

    def _refuse_too_little_memory(self, model: FusedRecommender) -> None:
        if self.scenario.privacy.interaction is not None:
            return  # that layer trains a user at a time, whatever the budget
        lengths, local = self.dataset.splits.final.train.lengths, self.scenario.training.local
        lengths = np.append(lengths, self.scenario.model.history_length + 1)  # a node judges by a full window
        given = self.scenario.run.memory_mib
        privacy = self.scenario.privacy
        by_row = privacy.enabled and privacy.clipping == "rows"
        least = least_memory_mib(model, local, lengths, privacy.enabled, by_row)
        if given < least:
            raise ConfigError(
                f"run.memory_mib={given} is too little for one user of this run: set it to {least} or more, or lower "
                "model.dim or model.history_length"
            )

    # --- training -------------------------------------------------------------------------------------------------
    def _with_chosen_rounds(self, folder: RunFolder) -> Scenario:
        """Return the scenario with the number of rounds that the validation events favour, if it asks for that."""
        selection, training = self.scenario.selection, self.scenario.training
        if not selection.enabled:
            return self.scenario
        # The schedule of the final training falls over the same number of rounds as that of the search.
        searched = training.model_copy(update={"schedule_rounds": training.schedule_rounds or training.rounds})
        chosen = folder.chosen_rounds()
        if chosen is not None:  # by a process that was ended later
            return self._chosen(searched, chosen)
        stop = EarlyStop(config=selection)
        scratch = folder.path / "selection"
        shutil.rmtree(scratch, ignore_errors=True)
        phase = Phase(
            name="selection",
            scenario=self.scenario.model_copy(update={"training": searched.model_copy(update={"fusion_rounds": 0})}),
            catalogue=self.dataset.catalogue,
            split=self.dataset.splits.selection,
            user_keys=self.dataset.log.user_ids,
            layout=Layout(nodes=scratch, catalogue=folder.catalogue, ledger=scratch / "none", checkpoints=None),
            progress=self.progress,
            look_every=selection.every,
            on_row=self._into(folder),
            should_stop=stop,
        )
        outcome = phase.train()
        if outcome.state.round not in stop.looks:
            result = phase.measure(outcome.state)
            stop(outcome.state.round, result.means())
            self._last_row(folder, phase, outcome, result)
        rounds = stop.best_round
        shutil.rmtree(scratch)
        folder.choose_rounds(rounds)
        return self._chosen(searched, rounds)

    def _chosen(self, searched: TrainingConfig, rounds: int) -> Scenario:
        self._note(f"{rounds} rounds were chosen by {self.scenario.selection.metric} on the validation events")
        return self.scenario.model_copy(update={"training": searched.model_copy(update={"rounds": rounds})})

    def _final_phase(self, scenario: Scenario, folder: RunFolder) -> Phase:
        return Phase(
            name="final",
            scenario=scenario,
            catalogue=self.catalogue,
            canaries=self.canaries,
            split=self.dataset.splits.final,
            user_keys=self.dataset.log.user_ids,
            layout=Layout(
                nodes=folder.nodes,
                catalogue=folder.catalogue,
                ledger=folder.ledger_path,
                checkpoints=folder.checkpoints,
            ),
            progress=self.progress,
            look_every=scenario.evaluation.every,
            on_row=self._into(folder),
            on_event=lambda event: folder.append_event(event.to_row()),
            traffic=Traffic.of_rows(row for row in folder.metrics() if row["phase"] == "final"),
        )

    def _into(self, folder: RunFolder) -> Callable[[Row], None]:
        """Return what takes a row: the run's record, then its trackers."""

        def take(row: Row) -> None:
            folder.append_metrics(row)
            self.trackers.log(row)

        return take

    # --- measuring ------------------------------------------------------------------------------------------------
    def _last_row(self, folder: RunFolder, phase: Phase, outcome: Outcome, result: RankingResult) -> None:
        """Complete a phase's learning curve with the figures of its last model."""
        own = (phase.name, outcome.state.round)
        rows = [row for row in folder.metrics() if (row["phase"], row["round"]) == own]
        row: Row = {**(rows[-1] if rows else {"round": outcome.state.round, "phase": phase.name})}
        self._into(folder)({**row, "metrics": result.means(), "fusion": phase.fusion(outcome.state.shared)})

    def _sampled(self, phase: Phase, state: RunState) -> RankingResult | None:
        count = self.scenario.evaluation.sampled_negatives
        if not count:
            return None
        split, num_items = phase.split, self.dataset.catalogue.num_items
        negatives = fixed_negatives(split.train, split.targets, num_items, count, self.scenario.run.seed)
        return evaluate_sampled(phase.score(state), split.targets, negatives, self.scenario.evaluation.ks)

    def _floors(self) -> dict[str, Floor]:
        evaluation = self.scenario.evaluation
        if not evaluation.floors:
            return {}
        for note in floor_notes(self.dataset.catalogue.num_items):
            self._note(note)
        return measure_floors(
            self.dataset.splits,
            self.dataset.catalogue.num_items,
            evaluation.ks,
            evaluation.bootstrap,
            self._bootstrap_rng(),
            self._dp_popularity(),
            self.dataset.catalogue.features,
        )

    def _appraise(self, phase: Phase, state: RunState, result: RankingResult, floors: dict[str, Floor]) -> Appraisal:
        results = {"model": result, **{name: floor.result for name, floor in floors.items()}}
        shown = headline_metrics(self.scenario.evaluation.ks)
        return appraise(phase, state, self.dataset, results, shown, self._bootstrap_rng())

    def _dp_popularity(self) -> DPRelease | None:
        """Return the release of one noisy histogram that may spend the run's whole epsilon, if the run has one."""
        privacy = self.scenario.privacy
        if not privacy.enabled:
            return None
        mechanism = whole_budget(
            privacy.epsilon, privacy.delta_for(self.dataset.log.num_users), self.dataset.log.num_users
        )
        # Another stream than training's: the floor must not share its noise with the run that is held against it.
        source = noise_generator(self.scenario.noise_seed).derived("dp-popularity")
        return DPRelease(mechanism=mechanism, source=source)

    def _intervals(self, result: RankingResult) -> dict[str, tuple[float, float]]:
        return result_intervals(result, self.scenario.evaluation.bootstrap, self._bootstrap_rng())

    def _bootstrap_rng(self) -> np.random.Generator:
        return np.random.default_rng([self.scenario.run.seed, 0xB007])

    # --- concluding -----------------------------------------------------------------------------------------------
    def _conclude(self, folder: RunFolder, findings: Findings) -> Summary:
        results = {"model": findings.result, **{name: floor.result for name, floor in findings.floors.items()}}
        parts = {f"{ALONE} {name}": result for name, result in findings.ablation.results.items()}
        folder.write_per_user({**results, **parts, **findings.appraisal.results})
        summary = summarise(findings).model_copy(update={"interaction": interaction_summary(account_for(folder))})
        folder.write_summary(summary)
        self.trackers.end(summary)
        write_report(folder)
        return summary

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)
