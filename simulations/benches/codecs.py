"""Codecs against each other: bytes on the way up and what they cost in quality, over several seeds.

HR@10 counts whole users: of 943, one is more than half a percent of a figure of 0.18. So a control stands beside the
codecs, the plain run with a learning rate larger by ``DISTURBANCE``, a change that nobody would notice: a codec whose
difference is like the control's has cost nothing that this measurement can see. Knows nothing of printing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fedrec.config import CodecConfig, CodecName, Scenario
from fedrec.errors import ConfigError
from fedrec.evaluation.bootstrap import Interval, paired_interval
from fedrec.runs.folder import RunFolder
from simulations.progress import Progress
from simulations.simulate import simulate

CODECS = tuple(CodecConfig(name=name) for name in get_args(CodecName))
"""Every codec with its default settings."""

PLAIN: CodecName = "none"
CONTROL = "none, disturbed"
DISTURBANCE = 1e-3
"""Relative change of the server's learning rate in the control. 1e-7, a rounding, was tried and moved no user's hit."""

HITS, GAIN = "hr@10", "ndcg@10"
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class CodecRow:
    """One codec over all seeds. Differences are against the plain run of the same seed."""

    name: str
    bytes_up: float
    """Mean bytes on the wire of one node's reply in a training round."""
    bytes_down: float
    """The same of the task."""
    ratio: float
    """``bytes_up`` over the plain run's."""
    hits: float
    """HR@10, mean over users and seeds."""
    gain: float
    """NDCG@10, likewise."""
    changes: tuple[float, ...]
    """Relative change of HR@10, seed by seed."""
    difference: Interval
    """Absolute difference in HR@10 of each user's mean over the seeds, with its 95 % bootstrap interval over users."""

    @property
    def change(self) -> float:
        """Return the mean relative change of HR@10 over the seeds."""
        return fmean(self.changes)


@dataclass(frozen=True, kw_only=True)
class CodecBench:
    """All rows, the plain one first and the control second."""

    scenario: str
    seeds: tuple[int, ...]
    rounds: int
    nodes: int
    users: int
    rows: tuple[CodecRow, ...]


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """One variant's runs, in the order of the seeds. ``hits``: float64 ``[num_users]``, mean over seeds."""

    up: list[float]
    down: list[float]
    hits: list[float]
    gain: list[float]
    by_user: NDArray[np.float64]


def bench_codecs(
    scenario: Scenario,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    codecs: Sequence[CodecConfig] = CODECS,
    out: Path | None = None,
    progress: Progress | None = None,
) -> CodecBench:
    """Run ``scenario`` under each codec with each seed and set the codecs beside the plain run and its control.

    Floors and learning curves are left out, selection too. ``out``: where the run folders stay; None keeps none.
    Raises ``ConfigError`` for no seed, or a codec named twice.
    """
    names = [codec.name for codec in codecs]
    if not seeds or len(set(names)) < len(names):
        raise ConfigError(f"codecs need one seed at least and each name once, got seeds {seeds} and codecs {names}")
    variants: dict[str, Scenario] = {
        PLAIN: _with(scenario, CodecConfig()),
        CONTROL: _disturbed(_with(scenario, CodecConfig())),
        **{codec.name: _with(scenario, codec) for codec in codecs if codec.name != PLAIN},
    }
    with TemporaryDirectory(prefix="fedrec-bench-") as scratch:
        folder = out or Path(scratch)
        runs = {name: _run(name, variant, seeds, folder, progress) for name, variant in variants.items()}
    return CodecBench(
        scenario=scenario.run.name,
        seeds=tuple(seeds),
        rounds=scenario.training.rounds,
        nodes=scenario.federation.nodes,
        users=len(runs[PLAIN].by_user),
        rows=tuple(_row(name, found, runs[PLAIN]) for name, found in runs.items()),
    )


def _with(scenario: Scenario, codec: CodecConfig) -> Scenario:
    return scenario.model_copy(
        update={
            "federation": scenario.federation.model_copy(update={"codec": codec}),
            "evaluation": scenario.evaluation.model_copy(update={"floors": False, "every": 0}),
            "selection": scenario.selection.model_copy(update={"enabled": False}),
        }
    )


def _disturbed(scenario: Scenario) -> Scenario:
    rate = scenario.training.server_learning_rate * (1 + DISTURBANCE)
    return scenario.model_copy(update={"training": scenario.training.model_copy(update={"server_learning_rate": rate})})


def _run(name: str, scenario: Scenario, seeds: Sequence[int], out: Path, progress: Progress | None) -> _Runs:
    summaries, results = [], []
    for seed in seeds:
        folder = out / f"{name.replace(', ', '-')}-{seed}"
        seeded = scenario.model_copy(update={"run": scenario.run.model_copy(update={"seed": seed})})
        summaries.append(simulate(seeded, folder, progress=progress))
        results.append(RunFolder.open(folder).per_user()["model"].values[HITS])
    return _Runs(
        up=[summary.bytes.up_per_client_round for summary in summaries],
        down=[summary.bytes.down_per_client_round for summary in summaries],
        hits=[summary.metrics[HITS] for summary in summaries],
        gain=[summary.metrics[GAIN] for summary in summaries],
        by_user=np.mean(results, axis=0),
    )


def _row(name: str, runs: _Runs, plain: _Runs) -> CodecRow:
    return CodecRow(
        name=name,
        bytes_up=fmean(runs.up),
        bytes_down=fmean(runs.down),
        ratio=fmean(runs.up) / fmean(plain.up),
        hits=fmean(runs.hits),
        gain=fmean(runs.gain),
        changes=tuple(
            own / reference - 1 if reference else 0.0 for own, reference in zip(runs.hits, plain.hits, strict=True)
        ),
        difference=paired_interval(runs.by_user, plain.by_user, RESAMPLES, np.random.default_rng(0)),
    )
