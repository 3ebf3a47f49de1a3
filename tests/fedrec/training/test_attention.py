"""Attention weights of a user's own history."""

import numpy as np
import pytest
import torch

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.models import build_model
from fedrec.training.attention import sequence_attention
from fedrec.training.private_start import initial_private

HISTORIES = Histories.from_lists([[1, 2, 3], [], [4, 5, 6, 7, 8, 9, 10]])


@pytest.mark.parametrize("scope", ["shared", "private", "hybrid"])
def test_the_weights_of_each_users_events_sum_to_one_and_are_its_own(catalogue: Catalogue, scope: str) -> None:
    config = ModelConfig.model_validate(
        {"dim": 4, "history_length": 5, "sequence_encoder": "sasrec", "sequence_scope": scope}
    )
    model = build_model(config, catalogue, 0)
    generator = torch.Generator().manual_seed(0)
    private = initial_private(model, 3)
    for value in private.values():
        value += 0.5 * torch.randn(value.shape, generator=generator)
    looked = sequence_attention(model, model.shared_state(), private, HISTORIES)
    assert looked is not None
    np.testing.assert_allclose(looked.sum(1), [1, 0, 1], atol=1e-6)
    assert (looked > 0).sum(1).tolist() == [3, 0, 5]
    longer = Histories.from_lists([[4, 5], [], [6, 7, 8, 9, 10]])
    again = sequence_attention(model, model.shared_state(), private, longer)
    assert again is not None
    np.testing.assert_allclose(again[2], looked[2], atol=1e-6)


def test_a_model_without_attention_has_none(catalogue: Catalogue) -> None:
    model = build_model(ModelConfig(dim=4), catalogue, 0)
    assert sequence_attention(model, model.shared_state(), initial_private(model, 3), HISTORIES) is None
