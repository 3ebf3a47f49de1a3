"""Layers and options that void a bound on one user are named; everything that fedrec builds is on the list."""

import itertools

import pytest
from torch import nn

from fedrec.audit.record.model_checks import layer_faults, option_faults
from fedrec.config import ModelConfig, Scenario
from fedrec.models import build_model


class Unheard(nn.Module):
    """A layer that nobody has looked at."""


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.into.weight


FORBIDDEN = [
    (nn.BatchNorm1d(3), "statistics over users"),
    (nn.InstanceNorm1d(3, track_running_stats=True), "running statistics"),
    (nn.LSTM(3, 3), "no gradient a user"),
    (nn.GRU(3, 3), "no gradient a user"),
    (nn.MultiheadAttention(4, 2, batch_first=True), "no gradient a user"),
    (nn.TransformerEncoderLayer(4, 2), "no gradient a user"),
    (nn.EmbeddingBag(5, 3), "not held by a test"),
    (nn.Embedding(5, 3, sparse=True), "sparse=True"),
    (nn.Embedding(5, 3, max_norm=1.0), "max_norm"),
    (nn.Embedding(5, 3, scale_grad_by_freq=True), "scale_grad_by_freq"),
    (nn.Embedding(5, 3, padding_idx=0), "padding_idx"),
    (nn.Bilinear(2, 2, 2), "none whose bound"),
    (Unheard(), "none whose bound"),
]


@pytest.mark.parametrize(("layer", "reason"), FORBIDDEN, ids=lambda value: type(value).__name__)
def test_a_forbidden_or_unknown_layer_is_named_with_its_reason(layer, reason):
    faults = layer_faults(nn.Sequential(nn.Linear(3, 3), layer))
    assert any("layer 1" in fault and reason in fault for fault in faults)


def test_a_tied_table_is_named():
    assert any("into.weight and out.weight are one tensor" in fault for fault in layer_faults(Tied()))


def test_opacus_attention_is_unknown():
    from opacus.layers import DPMultiheadAttention  # takes seconds to import, which the other tests need not

    assert layer_faults(nn.Sequential(DPMultiheadAttention(4, 2, batch_first=True)))


@pytest.mark.parametrize("scope", ["shared", "private", "hybrid"])
@pytest.mark.parametrize("encoder", ["gru", "lstm", "sasrec", "cnn"])
def test_every_branch_encoder_and_member_that_fedrec_builds_is_on_the_list(tiny_dataset, encoder, scope):
    groups = [("cf", "mf", "seq"), ("neumf", "siamese", "autoencoder"), ("mf", "neighbours")]
    members = ("popularity", "ease", "knn", "markov", "pca", "nearby", "ials")
    for branches, rated in itertools.product(groups, (False, True)):
        config = ModelConfig(
            branches=branches,
            sequence_encoder=encoder,
            sequence_scope=scope,
            rating_head=rated and "neumf" not in branches,
            members=members,
        )
        assert layer_faults(build_model(config, tiny_dataset.catalogue, 0)) == []


def scenario(**changes):
    """A scenario with settings that its own rules would refuse, as a forged file might have."""
    sections = {}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        sections.setdefault(section, {})[name] = value
    base = Scenario()
    return base.model_copy(
        update={name: getattr(base, name).model_copy(update=values) for name, values in sections.items()}
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"privacy__enabled": False}, "privacy.enabled is false"),
        ({"privacy__noise_multiplier": 0.0}, "noise_multiplier is 0"),
        ({"privacy__amplification": True, "privacy__placement": "device"}, "secret cohorts"),
        ({"privacy__amplification": True, "privacy__correlation": "tree"}, "secret cohorts"),
        ({"training__local": Scenario().training.local.model_copy(update={"loss": "in-batch"})}, "loss=in-batch"),
    ],
)
def test_an_option_that_voids_the_promise_is_named(changes, text):
    assert any(text in fault for fault in option_faults(scenario(**changes)))


def test_the_default_scenario_asks_for_nothing_that_does():
    assert option_faults(Scenario()) == []
