"""The device's numpy against torch: every branch, encoder, scope and member that a model may have."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from clients.inference.encoders import ENCODERS
from clients.inference.members import SCORERS
from fedrec.config import Branch, Member, ModelConfig
from fedrec.members.registry import REGISTRY
from fedrec.serving import package

BRANCHES = get_args(Branch)
MEMBERS = get_args(Member)
ENCODER_NAMES = get_args(ModelConfig.model_fields["sequence_encoder"].annotation)
SCOPE_NAMES = get_args(ModelConfig.model_fields["sequence_scope"].annotation)

Make = Callable[..., Any]
"""Makes a model's twins, torch and served, of some settings."""


def test_what_a_device_knows_to_serve_is_all_that_models_are_made_of() -> None:
    assert set(package.BRANCHES) == set(BRANCHES)
    assert set(package.MEMBERS) == set(MEMBERS) == set(REGISTRY) == set(SCORERS)
    assert set(package.ENCODERS) == set(ENCODER_NAMES) == set(ENCODERS)
    assert set(package.SCOPES) == set(SCOPE_NAMES)


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_alone_scores_as_in_torch(twin: Make, branch: str) -> None:
    twin(branches=(branch,)).check()


@pytest.mark.parametrize("scope", SCOPE_NAMES)
@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_every_encoder_in_every_scope_scores_as_in_torch(twin: Make, encoder: str, scope: str) -> None:
    twin(branches=("cf", "mf", "seq"), sequence_encoder=encoder, sequence_scope=scope).check()


@pytest.mark.parametrize("member", MEMBERS)
def test_every_member_alone_scores_as_in_torch(twin: Make, member: str) -> None:
    twin(branches=(), members=(member,)).check()


@pytest.mark.parametrize("member", MEMBERS)
def test_every_member_beside_branches_scores_as_in_torch(twin: Make, member: str) -> None:
    twin(members=(member,)).check()


@pytest.mark.parametrize("member", ["ease", "knn", "markov"])
def test_weights_between_items_of_a_large_catalogue_are_read_sparsely(
    twin: Make, member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedrec.models.item_weights.MAX_DENSE", 10)
    monkeypatch.setattr("fedrec.models.item_weights.KEPT", 7)
    twin(members=(member,)).check()


@pytest.mark.parametrize(
    "settings",
    [
        {"branches": BRANCHES},
        {"branches": BRANCHES, "members": MEMBERS},
        {"branches": BRANCHES, "members": MEMBERS, "length_buckets": (2, 10), "gate": True},
        {"branches": ("mf", "neumf"), "members": ("popularity",)},
        {"branches": ("mf",), "item_embeddings": False},
        {"branch_weights": "equal", "members": ("ials", "pca")},
        {"rating_head": True},
        {"id_dropout": 0.3},
        {"history_length": 50, "sequence_encoder": "sasrec", "sequence_heads": 4, "sequence_blocks": 1},
    ],
    ids=str,
)
def test_settings_that_change_scoring_are_served(twin: Make, settings: dict[str, Any]) -> None:
    twin(**settings).check()


def test_without_a_time_of_the_latest_event_the_newest_span_counts(twin: Make) -> None:
    made = twin(branches=(), members=("recent-popularity",))
    scores = made.scorer.model.arrays["member.recent-popularity.scores"]
    found = made.scorer.scores({}, made.history_of(0).__class__(items=np.array([1])))
    np.testing.assert_allclose(found, (scores[-1] - scores[-1].mean()) / scores[-1].std(), rtol=1e-4, atol=1e-5)
