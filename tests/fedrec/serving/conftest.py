"""A run as a simulation leaves it, with one checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedrec.config import parse_scenario
from fedrec.data.catalogue import Catalogue
from fedrec.flower.roster import Roster
from fedrec.flower.state import RunState
from fedrec.models import build_model
from fedrec.models.split import SharedState
from fedrec.rounds import NodeCard
from fedrec.runs.folder import RunFolder
from server.checkpoint import Checkpoints

NUM_ITEMS = 12


@pytest.fixture
def items() -> Catalogue:
    features = np.random.default_rng(0).normal(size=(NUM_ITEMS, 3)).astype(np.float32)
    return Catalogue(
        item_ids=tuple(f"m{100 + code}" for code in range(NUM_ITEMS)),
        titles=tuple(f"Film {code}" for code in range(NUM_ITEMS)),
        features=features,
        feature_names=("genre=a", "b", "c"),
    )


@pytest.fixture
def make_run(tmp_path: Path, items: Catalogue) -> Callable[..., Path]:
    """Return a function that writes a run of some settings."""

    def make(*, popularity: bool = True, checkpoint: bool = True, average: bool = False, **tables: Any) -> Path:
        tables = {"model": {"dim": 4, "history_length": 5}, "run": {"seed": 3}, **tables}
        scenario = parse_scenario(tables)
        folder = RunFolder.create(tmp_path / "run", scenario)
        items.save(folder.catalogue)
        generator = torch.Generator().manual_seed(1)
        initial = build_model(scenario.model, items, scenario.run.seed).shared_state()
        moved = {n: v + 0.2 * torch.randn(v.shape, generator=generator) for n, v in initial.items()}
        state = RunState(
            run_id="run-7",
            round=4,
            roster=Roster(cards=(NodeCard(key="node", num_users=1, catalogue_digest=items.digest),)),
            shared=SharedState(moved),
            optimizer={},
            popularity=torch.arange(NUM_ITEMS, dtype=torch.float32) if popularity else None,
            average={n: v + 1 for n, v in moved.items() if n == "factors.bias"} if average else {},
        )
        if checkpoint:
            Checkpoints(folder.checkpoints, items.digest).save(state)
        return folder.path

    return make
