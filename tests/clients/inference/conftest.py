"""Served models of every kind over a small catalogue, beside the torch models that they are of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clients.inference.queries import History
from clients.inference.scoring import Scorer
from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.models import FusedRecommender, PrivateState, SharedState, build_model
from fedrec.serving.export import export_model
from fedrec.serving.package import FoldIn, ServedModel
from fedrec.training.scoring import branch_scores, item_vectors, score_users

NUM_ITEMS = 23
HISTORIES = Histories.from_lists(
    [[1, 2, 3, 4, 2, 9], [5], [], [6, 7, 8, 7, 1, 0, 22, 13, 6, 2, 3, 19, 20, 4, 5, 11, 12, 10, 8, 9, 14]],
    times=[[1e9 + 86_400 * 20 * n for n in range(size)] for size in (6, 1, 0, 21)],
)
"""Of four users: a repeated item, one event, none, and more events than any window."""


CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A model in torch and as it is served."""

    model: FusedRecommender
    shared: SharedState
    private: PrivateState
    scorer: Scorer
    catalogue: Catalogue
    folder: Path
    histories: Histories = HISTORIES

    def private_of(self, user: int) -> dict[str, NDArray[np.float32]]:
        """Return one user's private parameters as the scorer takes them."""
        return {name: value[user].numpy() for name, value in self.private.items()}

    def history_of(self, user: int) -> History:
        """Return a user's events as the scorer takes them."""
        times = self.histories.times
        assert times is not None
        own = times[self.histories.offsets[user] : self.histories.offsets[user + 1]]
        latest = float(own[-1]) if len(own) else None
        return History(items=self.histories[user].astype(np.int64), latest=latest)

    def check(self) -> None:
        """Fail unless every user's scores, all their parts and the item vectors are torch's to 1e-4."""
        expected = score_users(self.model, self.shared, self.private, self.histories)
        parts = branch_scores(self.model, self.shared, self.private, self.histories)
        assert np.ptp(expected, axis=1).max() > 0.05  # nothing is silent
        for user in range(len(self.histories)):
            history, private = self.history_of(user), self.private_of(user)
            np.testing.assert_allclose(self.scorer.scores(private, history), expected[user], **CLOSE)
            found = self.scorer.parts(private, history)
            assert list(found) == list(parts)
            for name, scores in found.items():
                np.testing.assert_allclose(scores, parts[name][user], **CLOSE, err_msg=name)
        if any(name.endswith(".codes") for name in self.scorer.model.rows):
            return  # torch takes the weights that are left for vectors, whatever items they are of
        vectors = self.scorer.vectors(np.arange(self.model.num_items))
        np.testing.assert_allclose(vectors, item_vectors(self.model, self.shared), **CLOSE)


@pytest.fixture(scope="session")
def small_catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    genres = (rng.random((NUM_ITEMS, 3)) < 0.5).astype(np.float32)
    return Catalogue(
        item_ids=tuple(f"i{n}" for n in range(NUM_ITEMS)),
        titles=tuple(f"Item {n}" for n in range(NUM_ITEMS)),
        features=np.concatenate([genres, rng.standard_normal((NUM_ITEMS, 1)).astype(np.float32)], axis=1),
        feature_names=("genre=Drama", "genre=Comedy", "genre=War", "year"),
    )


@pytest.fixture
def twin(tmp_path: Path, small_catalogue: Catalogue) -> Callable[..., Twin]:
    """Return a function that makes a model of some settings with parameters that are all in use."""

    def make(catalogue: Catalogue = small_catalogue, **settings: Any) -> Twin:
        config = ModelConfig(**{"dim": 8, "history_length": 12, "recency_end": 1e9 + 86_400 * 365, **settings})
        model = build_model(config, catalogue, 0)
        shared, private = stirred(model, 4)
        folder = tmp_path / "served"
        export_model(folder, model, shared, catalogue, run_id="run-1", round=3, fold_in=FoldIn())
        scorer = Scorer(ServedModel.load(folder))
        return Twin(model=model, shared=shared, private=private, scorer=scorer, catalogue=catalogue, folder=folder)

    return make


def stirred(model: FusedRecommender, num_users: int) -> tuple[SharedState, PrivateState]:
    """Return parameters that no branch or member is silent under."""
    generator = torch.Generator().manual_seed(1)
    shared = {}
    for name, value in model.shared_state().items():
        moved = value + 0.3 * torch.randn(value.shape, generator=generator)
        if name.startswith("mixing.weights"):
            moved = torch.rand(value.shape, generator=generator) + 0.1
            moved = moved / moved.sum(-1, keepdim=True)
        elif name.endswith("codes"):
            moved = torch.argsort(torch.rand(value.shape[0], model.num_items, generator=generator))[:, : value.shape[1]]
            moved = moved.float()
        elif name.endswith(("unobserved", "neighbours.scale")):
            moved = value.abs() + 0.05
        shared[name] = moved
    private = {
        name: value + 0.3 * torch.randn(num_users, *value.shape[1:], generator=generator)
        for name, value in model.private_template().items()
    }
    return SharedState(shared), PrivateState(private)
