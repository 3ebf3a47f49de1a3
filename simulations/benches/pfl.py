"""Federated matrix factorisation here and in pfl-research: the same work, in processes of their own, in turn.

A cohort of users, each with as many positives as negatives, takes local SGD steps on its rows of an item table and on
its own vector; with privacy each user's change of the table is clipped and noise is added to the sum; the server takes
an Adam step. One thread and float32 for both. Accounting is outside the rival's clock and inside ours.

What favours the rival: its negatives are drawn once, before the clock starts, and ours anew in each step; its users'
vectors stay in its memory, and ours go to a node's files; it keeps no ledger, no roster and no messages.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.config import Scenario, parse_scenario
from fedrec.data.catalogue import Catalogue
from fedrec.data.fetch import cache_folder
from fedrec.data.histories import Histories
from fedrec.data.items import build_catalogue
from fedrec.errors import ConfigError
from simulations.benches.machine import peak_rss_bytes, torch_threads
from simulations.benches.profiling import Profile, profile_run
from simulations.benches.racing import Entrant, Figures, Race, in_fresh_process, in_program, race
from simulations.benches.timed_run import Population, run_timed

PFL = "0.6.0"
RIVAL = Path(__file__).with_name("rival_pfl.py")
LATEST_PYTHON = (3, 12)
"""The latest that pfl 0.6 runs on."""

OURS_DP, PFL_DP, OURS, THEIRS = "fedrec, DP", "pfl, DP", "fedrec, no DP", "pfl, no DP"
PAIRS = ((OURS_DP, PFL_DP), (OURS, THEIRS))
"""Who is held against whom."""
MILLISECONDS, RATE, PEAK = "ms_per_user", "users_per_second", "peak_rss_bytes"

WARM_UP = 1
"""Rounds before the clock starts, for both; pfl evaluates in its first."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both do. ``positives`` of a user, and as many negatives; ``cohort`` of ``users`` in each of ``rounds``."""

    num_items: int
    dim: int = 32
    users: int = 10_000
    cohort: int = 1000
    positives: int = 20
    steps: int = 2
    rounds: int = 3
    rate: float = 0.1
    user_rate: float = 0.1
    server_rate: float = 0.01
    clip_norm: float = 1.0
    noise_multiplier: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.cohort <= self.users:
            raise ConfigError(f"a cohort of {self.cohort} cannot be drawn from {self.users} users: lower --cohort")
        if self.num_items < 4 * self.positives:
            raise ConfigError(f"{self.num_items} items are too few for users of {self.positives}: raise --items")


@dataclass(frozen=True, kw_only=True)
class PflBench:
    """What the race found for one size of the catalogue."""

    work: Work
    race: Race


def bench_pfl(
    work: Work, python: Path, *, repeats: int = 5, on_lap: Callable[[str, int], None] = lambda name, repeat: None
) -> PflBench:
    """Race ours and pfl, each with and without privacy; ``python`` is one that has pfl (``pfl_python``)."""
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as folder:
        data = Path(folder) / "users.npz"
        write_users(work, data)
        entrants = [
            Entrant(name=OURS_DP, run=lambda: in_fresh_process(our_lap, work, True)),
            Entrant(name=PFL_DP, run=lambda: pfl_lap(work, data, python, True)),
            Entrant(name=OURS, run=lambda: in_fresh_process(our_lap, work, False)),
            Entrant(name=THEIRS, run=lambda: pfl_lap(work, data, python, False)),
        ]
        return PflBench(work=work, race=race(entrants, repeats, on_lap))


def profile_pfl(work: Work, trace: Path) -> Profile:
    """Profile our own lap with privacy."""
    with torch_threads(1):
        return profile_run(lambda: our_lap(work, True), trace)


# --- what both train on -------------------------------------------------------------------------------------------
def draw_events(work: Work) -> NDArray[np.int32]:
    """Return the events of each user, int32 ``[users, positives + 1]``: distinct items, popular ones more often.

    The first event is a target of nothing, so that ``positives`` remain.
    """
    rng = np.random.default_rng(work.seed)
    appeal = np.arange(1, work.num_items + 1) ** -0.5
    # the largest of exponential clocks are a sample without replacement by weight (Efraimidis and Spirakis, 2006)
    events = np.empty((work.users, work.positives + 1), dtype=np.int32)
    for start in range(0, work.users, 1000):
        clocks = rng.exponential(size=(min(1000, work.users - start), work.num_items)) / appeal
        events[start : start + len(clocks)] = np.argpartition(clocks, work.positives, axis=1)[:, : work.positives + 1]
    return events


def write_users(work: Work, path: Path) -> None:
    """Write each user's items int64 and labels float32, ``[users, 2 * positives]``, for the rival."""
    events = draw_events(work)
    rng = np.random.default_rng([work.seed, 1])
    negatives = rng.integers(0, work.num_items, size=(work.users, work.positives))
    items = np.concatenate([events[:, 1:], negatives], axis=1).astype(np.int64)
    labels = np.zeros(items.shape, dtype=np.float32)
    labels[:, : work.positives] = 1
    np.savez(path, items=items, labels=labels)


# --- ours ---------------------------------------------------------------------------------------------------------
def our_lap(work: Work, dp: bool) -> Figures:
    """Run the federation in this process and return its figures; the rounds after the first count."""
    torch.set_num_threads(1)
    done = run_timed(our_scenario(work, dp=dp), our_population(work))
    return _figures(
        done.round_seconds[WARM_UP:], sum(report.num_users for report in done.reports[WARM_UP:]), peak_rss_bytes()
    )


def our_scenario(work: Work, *, dp: bool) -> Scenario:
    """Return the scenario that is the work: the mf branch alone, BCE on the items that a user touches."""
    return parse_scenario(
        {
            "model": {"branches": ["mf"], "dim": work.dim, "history_length": work.positives, "dropout": 0.0},
            "training": {
                "rounds": WARM_UP + work.rounds,
                "sample_rate": work.cohort / work.users,
                "popularity_start": False,
                "server_schedule": "constant",
                "server_learning_rate": work.server_rate,
                "local": {
                    "loss": "bce",
                    "num_negatives": work.positives,
                    "steps": work.steps,
                    "learning_rate": work.rate,
                    "private_optimizer": "sgd",
                    "private_learning_rate": work.user_rate,
                },
            },
            "privacy": {
                "enabled": dp,
                "epsilon": 1000.0,
                "delta": 1e-6,
                "clip_norm": work.clip_norm,
                "noise_multiplier": work.noise_multiplier,
                "noise_seed": "run",
            },
            "run": {"seed": work.seed},
        }
    )


def our_population(work: Work) -> Population:
    """Return the users on a catalogue of items without content."""
    catalogue: Catalogue = build_catalogue(tuple(str(item) for item in range(work.num_items)), None)
    return Population(
        catalogue=catalogue,
        histories=Histories.from_lists(list(draw_events(work))),
        user_keys=tuple(str(user) for user in range(work.users)),
    )


# --- theirs -------------------------------------------------------------------------------------------------------
def pfl_lap(work: Work, data: Path, python: Path, dp: bool) -> Figures:
    """Run the rival's script with its own Python and return its figures."""
    request = {**asdict(work), "data": str(data), "noise_multiplier": work.noise_multiplier if dp else 0.0}
    answer = in_program([str(python), "-I", str(RIVAL)], request, {**os.environ, "OMP_NUM_THREADS": "1"})
    return _figures(answer["seconds"], work.cohort * len(answer["seconds"]), answer["peak_rss_bytes"])


def pfl_python(report: Callable[[str], None], root: Path | None = None) -> Path:
    """Return a Python that has pfl, in an environment of its own, which is made the first time: minutes.

    ``root``: folder of such environments, by default in the user's cache. ``report`` is told what is done. Raises
    ``ConfigError`` that says what to do if it cannot be made; nothing half-made is used afterwards.
    """
    folder = (root or cache_folder().parent / "rivals") / f"pfl-{PFL}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and python.exists():
        return python
    if sys.version_info[:2] > LATEST_PYTHON:
        raise ConfigError(
            f"pfl {PFL} needs Python {'.'.join(map(str, LATEST_PYTHON))} or older, this is "
            f"{sys.version_info.major}.{sys.version_info.minor}: run fedrec bench pfl from an older one"
        )
    report(f"making an environment for pfl {PFL} in {folder}: minutes, once")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    own_torch = f"torch=={torch.__version__.partition('+')[0]}"
    _do([sys.executable, "-m", "venv", "--clear", str(folder)], folder)
    for requirement in (own_torch, f"pfl=={PFL}"):
        report(f"installing {requirement}")
        _do([*pip, requirement], folder)
    ready.touch()
    return python


def _do(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be run ({error}): see to {folder}") from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise ConfigError(
            f"{' '.join(command[1:])} failed ({reason}): pfl {PFL} is installed on demand, so see to the network or to "
            f"pip's settings, or make {folder} yourself with torch and pfl=={PFL} and an empty file 'ready' in it"
        )


def _figures(seconds: Sequence[float], users: int, peak: int) -> Figures:
    return {MILLISECONDS: 1000 * sum(seconds) / users, RATE: users / sum(seconds), PEAK: float(peak)}
