"""The hidden layer of neural matrix factorisation, as a function of queries and rows."""

import torch
from torch import nn

from fedrec.models.neumf import HIDDEN, PRODUCT, NeuMFItems, NeuMFUser, ask, hidden_scores, hidden_weighted

USERS, ITEMS, DIM = 3, 5, 4


def test_scores_are_those_of_a_network_over_both_vectors_joined() -> None:
    torch.manual_seed(0)
    hidden, output = nn.Linear(2 * DIM, DIM, bias=False), nn.Linear(DIM, 1, bias=False)
    users, items = torch.randn(USERS, DIM), torch.randn(ITEMS, DIM)
    joined = torch.cat([users[:, None].expand(-1, ITEMS, -1), items.expand(USERS, -1, -1)], dim=-1)
    expected = output(torch.relu(hidden(joined)))[..., 0]
    own, rows = users @ hidden.weight[:, :DIM].T, items @ hidden.weight[:, DIM:].T
    queries = torch.cat([own, output.weight.expand(USERS, -1)], dim=-1)[:, None]
    torch.testing.assert_close(hidden_scores(queries, rows)[:, 0], expected)
    torch.testing.assert_close(hidden_scores(queries, rows.expand(USERS, -1, -1))[:, 0], expected)


def test_a_weight_of_the_queries_is_a_weight_of_the_scores() -> None:
    queries, rows = torch.randn(USERS, 1, 2 * DIM), torch.randn(ITEMS, DIM)
    for weight in (torch.tensor(-2.0), torch.randn(USERS, 1, 1)):
        torch.testing.assert_close(
            hidden_scores(hidden_weighted(weight, queries), rows), weight * hidden_scores(queries, rows)
        )


def test_a_new_user_asks_as_every_new_user_does_and_an_untrained_branch_is_silent() -> None:
    items = NeuMFItems(ITEMS, DIM)
    asked = ask(NeuMFUser(DIM), items, USERS)
    assert not asked[PRODUCT].any()
    assert not hidden_scores(asked[HIDDEN], items.hidden).any()
