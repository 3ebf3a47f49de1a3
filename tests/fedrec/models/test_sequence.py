"""The GRU written for batching over users, against the fused one of PyTorch."""

import torch
from torch import nn

from fedrec.models.sequence import GRUEncoder


def test_states_equal_those_of_the_fused_gru() -> None:
    torch.manual_seed(0)
    encoder = GRUEncoder(5)
    nn.init.eye_(encoder.output.weight)
    fused = nn.GRU(5, 5, batch_first=True)
    names = {"weight_ih_l0": "weight_ih", "weight_hh_l0": "weight_hh", "bias_ih_l0": "bias_ih", "bias_hh_l0": "bias_hh"}
    fused.load_state_dict({theirs: getattr(encoder, ours) for theirs, ours in names.items()})
    events, ones = torch.randn(7, 5), torch.ones(5)
    torch.testing.assert_close(encoder(events, ones, ones), fused(events[None])[0][0])


def test_a_state_never_looks_ahead() -> None:
    torch.manual_seed(0)
    encoder, ones = GRUEncoder(4), torch.ones(4)
    nn.init.eye_(encoder.output.weight)
    events = torch.randn(6, 4)
    changed = events.clone()
    changed[4:] = 9.0
    torch.testing.assert_close(encoder(events, ones, ones)[:4], encoder(changed, ones, ones)[:4])


def test_an_untrained_encoder_is_silent() -> None:
    ones = torch.ones(4)
    assert not GRUEncoder(4)(torch.randn(3, 4), ones, ones).any()
