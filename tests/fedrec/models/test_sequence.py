"""What every sequence encoder keeps to, and the private adapter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.models.fusion import build_model
from fedrec.models.sequence import SequenceAdapter, sequence_encoder

DIM, LENGTH = 4, 9
ENCODERS = ("gru", "lstm", "sasrec", "cnn")


def config(encoder: str, **changes: object) -> ModelConfig:
    return ModelConfig.model_validate(
        {"dim": DIM, "history_length": LENGTH, "dropout": 0.0, "sequence_encoder": encoder, **changes}
    )


def heard(encoder: str) -> nn.Module:
    """Return an encoder whose every parameter is away from its start, in double precision."""
    torch.manual_seed(0)
    module = sequence_encoder(config(encoder)).double()
    for parameter in module.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module


def ones(users: int) -> Tensor:
    return torch.ones(users, DIM, dtype=torch.float64)


@settings(max_examples=12)
@given(encoder=st.sampled_from(ENCODERS), cut=st.integers(1, LENGTH - 1), seed=st.integers(0, 2**16))
def test_later_events_and_padding_change_no_earlier_state(encoder: str, cut: int, seed: int) -> None:
    module, generator = heard(encoder), torch.Generator().manual_seed(seed)
    events, other = torch.randn(2, 1, LENGTH, DIM, dtype=torch.float64, generator=generator)
    changed = torch.cat([events[:, :cut], 9 * other[:, cut:]], dim=1)
    padded = torch.cat([events[:, :cut], torch.zeros_like(other[:, cut:])], dim=1)
    alone = module(events[:, :cut], ones(1), ones(1))
    for longer in (events, changed, padded):
        torch.testing.assert_close(module(longer, ones(1), ones(1))[:, :cut], alone)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_order_of_earlier_events_matters(encoder: str) -> None:
    module, events = heard(encoder), torch.randn(1, LENGTH, DIM, dtype=torch.float64)
    swapped = events.clone()
    swapped[:, [3, 6]] = events[:, [6, 3]]
    last = [module(given, ones(1), ones(1))[:, -1] for given in (events, swapped)]
    assert not torch.allclose(*last)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_untrained_encoder_is_silent(encoder: str) -> None:
    module = sequence_encoder(config(encoder))
    assert not module(torch.randn(2, 3, DIM), torch.ones(2, DIM), torch.ones(2, DIM)).any()


@pytest.mark.parametrize("kind", ["expanded", "own"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_stacked_weights_give_each_user_the_gradient_it_has_alone(encoder: str, kind: str) -> None:
    module, users = heard(encoder), 3
    stacked = {}
    for name, value in module.named_parameters():
        copies = value.detach().expand(users, *value.shape)
        stacked[name] = (copies if kind == "expanded" else copies + 0.1 * torch.randn(copies.shape)).requires_grad_()
    events, factors = torch.randn(2, users, LENGTH, DIM, dtype=torch.float64)
    keeps = torch.rand(2, users, DIM, dtype=torch.float64)
    states = functional_call(module, stacked, (events, *keeps))
    got = torch.autograd.grad((states * factors).sum(), list(stacked.values()))
    for user in range(users):
        own = {name: value[user].detach().clone().requires_grad_() for name, value in stacked.items()}
        alone = functional_call(module, own, (events[user, None], *keeps[:, user, None]))
        torch.testing.assert_close(states[user, None], alone)
        expected = torch.autograd.grad((alone[0] * factors[user]).sum(), list(own.values()))
        torch.testing.assert_close([part[user] for part in got], list(expected))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_functorch_gives_each_sample_the_gradient_it_has_alone(encoder: str) -> None:
    module, samples = heard(encoder), 3
    common = {name: value.detach() for name, value in module.named_parameters()}
    events, factors = torch.randn(2, samples, LENGTH, DIM, dtype=torch.float64)

    def loss(parameters: dict[str, Tensor], row: Tensor, factor: Tensor) -> Tensor:
        states: Tensor = functional_call(module, parameters, (row[None], ones(1), ones(1)))
        return (states[0] * factor).sum()

    got = vmap(grad(loss), in_dims=(None, 0, 0))(common, events, factors)
    for sample in range(samples):
        alone = grad(loss)(common, events[sample], factors[sample])
        torch.testing.assert_close({name: value[sample] for name, value in got.items()}, alone)


def test_an_adapter_starts_as_the_identity_and_then_scales_and_shifts_each_user_by_its_own() -> None:
    adapter, states = SequenceAdapter(DIM), torch.randn(2, 3, DIM)
    torch.testing.assert_close(adapter(states), states)
    gain, shift = torch.randn(2, 2, DIM)
    adapted = functional_call(adapter, {"gain": gain, "shift": shift}, (states,))
    for user in range(2):
        torch.testing.assert_close(adapted[user], states[user] * (1 + gain[user]) + shift[user])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_hybrid_scope_shares_the_encoder_and_keeps_the_adapter(encoder: str, catalogue: Catalogue) -> None:
    model = build_model(config(encoder, sequence_scope="hybrid"), catalogue, 0)
    assert any(name.startswith("sequence.") for name in model.shared_state())
    private = {name: tuple(value.shape) for name, value in model.private_template().items()}
    assert private == {
        "user.embedding": (1, DIM),
        "sequence_adapter.gain": (1, DIM),
        "sequence_adapter.shift": (1, DIM),
    }


def test_attention_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="sequence_heads=3 does not divide dim=4"):
        config("sasrec", sequence_heads=3)
