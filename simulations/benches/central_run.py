"""A run of the central twin, stored as a run's folder, so that it compares with federated ones user by user."""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from fedrec.config import Scenario
from fedrec.data.load import load_dataset
from fedrec.evaluation.bootstrap import result_intervals
from fedrec.evaluation.metrics import evaluate_ranking
from fedrec.models.mixing import named_weights
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import BytesSummary, Summary, TimingSummary
from simulations.able import without_the_unable
from simulations.benches.central_fusion import refuse_unknown, train_central
from simulations.progress import Progress, Silence
from simulations.summarise import environment_summary, protocol_summary

NOTE = "trained centrally, on all histories at once: no federation, no messages"


def run_central(scenario: Scenario, out: Path, *, progress: Progress | None = None) -> Summary:
    """Train the central twin of ``scenario`` and leave configuration, summary and per-user results at ``out``.

    Raises ``ConfigError`` for a setting that the twin does not know, before ``out`` is made.
    """
    watcher, began, clock = progress or Silence(), datetime.now(UTC), time.monotonic()
    if scenario.run.threads:
        torch.set_num_threads(scenario.run.threads)
    dataset = load_dataset(scenario.data, scenario.run.seed)
    scenario, left_out = without_the_unable(scenario, dataset)
    refuse_unknown(scenario)
    folder = RunFolder.create(out, scenario)
    split, rounds = dataset.splits.final, scenario.training.rounds
    watcher.phase("central", rounds)
    twin = train_central(
        scenario,
        dataset.catalogue,
        split.train,
        dataset.log.user_ids,
        lambda step: watcher.round({"round": step}),
    )
    trained = time.monotonic()
    result = evaluate_ranking(
        lambda rows: twin.scores(np.arange(rows.start, rows.stop), split.train.take(np.arange(rows.start, rows.stop))),
        split.train,
        split.targets,
        scenario.evaluation.ks,
        candidates=split.candidates,
    )
    now = datetime.now(UTC)
    weights = named_weights(scenario.model, twin.mixing["weights"]) if scenario.model.members else {}
    summary = Summary(
        name=f"{scenario.run.name}, central",
        created=began.isoformat(timespec="seconds"),
        finished=now.isoformat(timespec="seconds"),
        rounds=rounds,
        metrics=result.means(),
        intervals=result_intervals(
            result, scenario.evaluation.bootstrap, np.random.default_rng([scenario.run.seed, 0xB007])
        ),
        fusion={name: float(np.mean(rows)) for name, rows in weights.items()},
        privacy=None,
        bytes=BytesSummary(down_per_client_round=0, up_per_client_round=0, down_total=0, up_total=0),
        timing=TimingSummary(
            total=time.monotonic() - clock,
            training=trained - clock,
            evaluation=time.monotonic() - trained,
            rounds=rounds,
        ),
        protocol=protocol_summary(dataset, scenario, result.num_users),
        environment=environment_summary(scenario),
        notes=(*dataset.notes, *left_out, NOTE),
    )
    folder.write_per_user({"model": result})
    folder.write_summary(summary)
    return summary
