"""Layers whose weights are everybody's or each user's own."""

import pytest
import torch
from torch.nn import functional as F

from fedrec.models.layers import linear, lookup

USERS, ROWS, IN, OUT = 3, 4, 5, 2


@pytest.mark.parametrize("expanded", [True, False])
@pytest.mark.parametrize("common_inputs", [True, False])
def test_a_stacked_weight_serves_each_user_and_gets_a_gradient_a_user(expanded: bool, common_inputs: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(*(() if common_inputs else (USERS,)), ROWS, IN, generator=generator)
    weight, bias = torch.randn(USERS, OUT, IN, generator=generator), torch.randn(USERS, OUT, generator=generator)
    if expanded:
        weight, bias = weight[:1].expand_as(weight), bias[:1].expand_as(bias)
    leaves = [weight.detach().requires_grad_(), bias.detach().requires_grad_()]
    factors = torch.randn(USERS, ROWS, OUT, generator=generator)
    outputs = linear(inputs, *leaves)
    got = torch.autograd.grad((outputs * factors).sum(), leaves)
    for user in range(USERS):
        own = [leaf[user].detach().clone().requires_grad_() for leaf in leaves]
        alone = F.linear(inputs if common_inputs else inputs[user], *own)
        torch.testing.assert_close(outputs[user], alone)
        expected = torch.autograd.grad((alone * factors[user]).sum(), own)
        torch.testing.assert_close([part[user] for part in got], list(expected))


def test_a_lookup_reads_the_common_table_or_each_users_own_rows() -> None:
    table, rows = torch.randn(6, 2), torch.tensor([[0, 5], [3, 3]])
    torch.testing.assert_close(lookup(table, rows), table[rows])
    torch.testing.assert_close(lookup(table.expand(2, 6, 2), rows), table[rows])
