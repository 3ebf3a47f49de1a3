"""Honest clients of matrix factorisation against autograd and naive loops, and how the server adds up."""

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from simulations.attacks.authors.clients import Loss, bounded, ranges
from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.mf import Recipe, View, World


def one_client(world: World, user: int) -> tuple[Tensor, Tensor]:
    """What autograd makes of one client: the gradients of its vector and of a table, repeats among what it sends."""
    clients, recipe = world.clients, world.recipe
    vector = world.users[user].clone().requires_grad_(True)
    table = world.items.clone().requires_grad_(True)
    mine = clients.users == user
    if recipe.loss == "pointwise":
        places = mine.nonzero().flatten().repeat_interleave(clients.repeats[mine].long())
        scores = table[clients.items[places]] @ vector
        loss = functional.binary_cross_entropy_with_logits(scores, clients.labels[places])
    else:
        pairs = clients.users[clients.positive] == user
        liked, others = clients.items[clients.positive[pairs]], clients.items[clients.negative[pairs]]
        loss = -functional.logsigmoid((table[liked] - table[others]) @ vector).sum()
    touched = table[clients.items[mine]]
    loss = loss + recipe.decay / 2 * (vector.square().sum() + touched.square().sum())
    of_vector, of_table = torch.autograd.grad(loss, [vector, table])
    return of_vector, of_table


@pytest.mark.parametrize(("loss", "bound"), [("pairwise", 0.02), ("pairwise", None), ("pointwise", 1e-4)])
def test_all_clients_at_once_are_autograd_and_bounded_rows_client_after_client(
    small_events: Interactions, seeded: torch.Generator, loss: Loss, bound: float | None
) -> None:
    recipe = Recipe(rate=0.5, loss=loss, decay=0.1, row_bound=bound, negatives=2, scale=0.1, dim=5)
    world = World(events=small_events, recipe=recipe, generator=seeded)
    chosen = torch.tensor([7, 3, 40, 119])
    users, found = world.users.clone(), torch.zeros_like(world.items)
    for user in chosen.tolist():
        of_vector, of_table = one_client(world, user)
        users[user] -= recipe.rate * of_vector
        for item, row in enumerate(of_table):
            cut = 1.0 if bound is None else min(1.0, bound / max(float(row.norm()), 1e-12))
            found[item] -= cut * row
    total, senders = world.honest(chosen)
    torch.testing.assert_close(total, found, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(world.users, users, rtol=1e-4, atol=1e-7)
    rows = torch.isin(world.clients.users, chosen)
    assert torch.equal(senders[:, 0], torch.bincount(world.clients.items[rows], minlength=600).float())


def test_a_repeated_negative_counts_once_where_published_code_writes_by_index(
    small_events: Interactions, seeded: torch.Generator
) -> None:
    sent = {}
    for counted in (True, False):
        recipe = Recipe(rate=0.5, loss="pointwise", negatives=3, repeats_count=counted)
        world = World(events=small_events, recipe=recipe, generator=torch.Generator().manual_seed(2))
        sent[counted] = world.honest(torch.tensor([4]))[0]
    mine = world.clients.users == 4
    items, repeats = world.clients.items[mine], world.clients.repeats[mine]
    assert int(repeats.max()) > 1
    torch.testing.assert_close(sent[False][items] * repeats[:, None], sent[True][items])


@pytest.mark.parametrize("joined", ["sum", "mean"])
def test_the_server_adds_honest_and_false_rows_or_averages_them_over_their_senders(
    small_events: Interactions, joined: Literal["sum", "mean"]
) -> None:
    recipe = Recipe(rate=0.5, loss="pairwise", joined=joined, row_bound=1.0)
    lie = torch.zeros(600, recipe.dim)
    lie[9] = 3.0

    class Two:
        def send(self, view: View) -> list[Tensor]:
            return [lie] * len(view.liars)

    worlds = [World(events=small_events, recipe=recipe, generator=torch.Generator().manual_seed(2)) for _ in "ab"]
    before = worlds[0].items.clone()
    honest, senders = worlds[0].honest(torch.arange(120))
    worlds[1].step(torch.arange(122), Two(), 1)
    expected = honest[9] + 2 * lie[9] / lie[9].norm()
    expected = expected / (senders[9] + 2) if joined == "mean" else expected
    torch.testing.assert_close(worlds[1].items[9] - before[9], 0.5 * expected)


def test_ranges_are_the_places_of_each_chosen_in_their_order() -> None:
    places, owners = ranges(torch.tensor([0, 2, 2, 5]), torch.tensor([2, 1, 0]))
    assert places.tolist() == [2, 3, 4, 0, 1]
    assert owners.tolist() == [0, 0, 0, 2, 2]


def test_rows_within_the_bound_stay() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(bounded(rows, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    assert bounded(rows, None) is rows
