"""Predicted ratings of chosen items against one user at a time in plain PyTorch."""

import numpy as np
import pytest
import torch

from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.training import predicted_ratings
from fedrec.training.predicted_ratings import predict_ratings
from tests.fedrec.training import cohorts as engine
from tests.fedrec.training.plain_recommender import PlainRecommender

PAIRS = Histories.from_lists([[3, 5], [2], [], [0, 10, 7], [3], [], [1], [4], [9, 8]])
CONFIGS = {
    "rated": ModelConfig(dim=4, history_length=5, dropout=0.25, rating_head=True, rating_scale=(0.5, 4.5)),
    "fused": ModelConfig(dim=4, history_length=5, dropout=0.25, branches=("mf", "seq")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_each_pair_is_rated_as_its_user_would_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(engine, "EVERY", engine.EVERY | CONFIGS)
    monkeypatch.setattr(predicted_ratings, "CHUNK_USERS", 4)
    model, shared, private = engine.warm(name, LocalConfig())
    got = predict_ratings(model, shared, private, engine.HISTORIES, PAIRS)
    plain = PlainRecommender(CONFIGS[name], torch.from_numpy(engine.catalogue_of(name).features).double()).double()
    plain.load({tensor: value.double() for tensor, value in shared.items()})
    keep = torch.ones(4, 4, dtype=torch.float64)
    for user, items in enumerate(engine.LISTS):
        if not items:
            continue
        plain.load({tensor: value[user].double() for tensor, value in private.items()})
        recent = torch.tensor(items[-5:])
        for place, item in enumerate(PAIRS[user].tolist()):
            if name == "rated":
                expected = 2.5 + 2 * plain.rate(recent, keep, torch.full_like(recent, item))[-1]
            else:
                expected = plain(recent, keep)[-1, item]
            np.testing.assert_allclose(got[PAIRS.offsets[user] + place], expected.item(), rtol=1e-5, atol=1e-5)
