"""Small runs with canaries, and the same without noise: the pipeline broken where its noise is made."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import simulations.simulate
from fedrec.config import Scenario, parse_scenario
from fedrec.privacy import release

SMALL = {
    "run": {"name": "canaries", "threads": 1},
    "data": {"source": "synthetic", "synthetic_users": 60, "synthetic_items": 40},
    "model": {"dim": 8, "history_length": 8},
    "training": {"rounds": 3, "sample_rate": 1.0},
    "privacy": {"enabled": True, "epsilon": 2.0, "delta": 1e-5},
    "federation": {"nodes": 2},
    "evaluation": {"every": 0, "floors": False, "bootstrap": 100},
    "audit": {"canaries": 1000},
}
STATISTICS = (
    "model.branches=[]",
    'model.members=["nearby", "content"]',
    "training.rounds=0",
    "training.fusion_rounds=0",
    "privacy.popularity_share=0.99",
)
"""All of the budget goes to one release before training, as in the presets."""
UPDATES = (
    'model.branches=["cf", "mf", "seq"]',
    "training.popularity_start=false",
    "privacy.popularity_share=0",
)
"""All of it goes to rounds of updates."""


def small(settings: Sequence[str]) -> Scenario:
    return parse_scenario(SMALL, settings)


@contextmanager
def without_reports() -> Iterator[None]:
    """Leave out the pages that a run ends with, whose pictures take longer than the run."""
    with (
        patch.object(simulations.simulate, "write_report", lambda folder: None),
        patch.object(simulations.simulate, "account_for", lambda folder: None),
    ):
        yield


def run(out: Path, settings: Sequence[str], *, noise: float = 1.0) -> Path:
    """Simulate a small run into ``out``; ``noise``: what the claimed noise is multiplied by on the way."""
    return simulated(small(settings), out, noise=noise)


def simulated(scenario: Scenario, out: Path, *, noise: float = 1.0) -> Path:
    """Simulate ``scenario`` into ``out``; ``noise``: what the claimed noise is multiplied by on the way."""
    real = release._noisy
    with (
        without_reports(),
        patch.object(release, "_noisy", lambda tensor, std, source: real(tensor, noise * std, source)),
    ):
        simulations.simulate.simulate(scenario, out)
    return out
