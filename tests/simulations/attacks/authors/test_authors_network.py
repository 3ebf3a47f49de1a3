"""The network's honest clients against autograd, one after the other."""

import torch
from torch.nn import functional

from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.mlp import NetworkRecipe, NetworkWorld, network_scores


def test_all_clients_at_once_are_autograd_one_after_the_other(
    small_events: Interactions, seeded: torch.Generator
) -> None:
    world = NetworkWorld(events=small_events, recipe=NetworkRecipe(scale=0.3, rate=0.5), generator=seeded)
    clients, shared = world.clients, world.shared
    chosen, users = torch.tensor([50, 2]), world.users.clone()
    items = torch.zeros_like(shared.items)
    sums = [torch.zeros_like(part) for layer in shared.layers for part in layer]
    for user in chosen.tolist():
        mine = clients.users == user
        places = mine.nonzero().flatten().repeat_interleave(clients.repeats[mine].long())
        vector = users[user].clone().requires_grad_(True)
        rows = shared.items[clients.items[places]].requires_grad_(True)
        layers = tuple((w.clone().requires_grad_(True), b.clone().requires_grad_(True)) for w, b in shared.layers)
        logits = network_scores(vector.expand(len(rows), -1), rows, layers)
        loss = functional.binary_cross_entropy_with_logits(logits, clients.labels[places])
        of_vector, of_rows, *rest = torch.autograd.grad(loss, [vector, rows, *(p for layer in layers for p in layer)])
        users[user] -= 0.5 * of_vector
        # as by an index: of a repeated item the last row is the one that counts
        once = torch.zeros_like(items)
        once[clients.items[places]] = of_rows
        items -= once
        sums = [total - part for total, part in zip(sums, rest, strict=True)]
    found = world.honest(chosen)
    torch.testing.assert_close(found.items, items, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(world.users, users, rtol=1e-4, atol=1e-7)
    for part, expected in zip((p for layer in found.layers for p in layer), sums, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-6)


def test_scores_of_all_items_are_those_of_users_and_items_side_by_side(
    small_events: Interactions, seeded: torch.Generator
) -> None:
    world = NetworkWorld(events=small_events, recipe=NetworkRecipe(), generator=seeded)
    scores = world.scores(torch.arange(0, 120, 3))
    hidden = torch.cat([world.users[3 * 31], world.shared.items[77]])
    for place, (weights, bias) in enumerate(world.shared.layers):
        hidden = weights @ (hidden if place == 0 else hidden.relu()) + bias
    torch.testing.assert_close(scores[31, 77], hidden[0])
