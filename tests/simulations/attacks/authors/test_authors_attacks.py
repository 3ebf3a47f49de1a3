"""Each attack does in a tiny world what it is for; without that, nothing is learnt from a defence against it."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from simulations.attacks.authors.adam_mf import AdamRecipe, AdamWorld
from simulations.attacks.authors.cluster_attack import ClusterAttack, ClusterCount, k_means
from simulations.attacks.authors.fedrec_attack import FedRecAttack, leaked, promotion
from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.measures import Judge
from simulations.attacks.authors.mf import Liars, Recipe, View, World, run
from simulations.attacks.authors.mlp import NetworkLiars, NetworkRecipe, NetworkWorld, run_network
from simulations.attacks.authors.pieck import PULLS, Pieck
from simulations.attacks.authors.pip_attack import PipAttack, level_classifier, looking_popular, popularity_levels
from simulations.attacks.authors.psmu import SyntheticUsers
from simulations.attacks.authors.random_users import RandomUsers, hardened_network
from simulations.attacks.authors.spattack import Blind, Omniscient
from simulations.attacks.pieck import pull_to_popular, pull_to_served

LIARS = 6
BCE = Recipe(rate=1.0, loss="pointwise", repeats_count=False, clients_a_step=64, dim=8)
BPR = Recipe(rate=0.02, loss="pairwise", decay=0.1, row_bound=1.0, clients_a_step=64, dim=8)
Make = Callable[[Interactions, int], Liars]


def by_public_events(events: Interactions, target: int) -> Liars:
    """FedRecAttack."""
    generator = torch.Generator().manual_seed(1)
    known = leaked(events, 0.01, generator)
    return FedRecAttack(num_users=events.num_users, target=target, known=known, generator=generator)


def by_popularity(events: Interactions, target: int) -> Liars:
    """PipAttack."""
    levels = popularity_levels(events.popularity)
    return PipAttack(target=target, levels=levels, generator=torch.Generator().manual_seed(1))


PROMOTIONS: dict[str, tuple[Recipe, Make]] = {
    "fedrec-attack": (BPR, by_public_events),
    "pip-attack": (BCE, by_popularity),
    "pieck-ipe": (BCE, lambda _, target: Pieck(target=target, pull=PULLS["pieck-ipe"], mined=10)),
    "pieck-uea": (BCE, lambda _, target: Pieck(target=target, pull=PULLS["pieck-uea"], mined=30)),
}


@pytest.mark.parametrize("name", sorted(PROMOTIONS))
def test_a_targeted_attack_shows_a_cold_item_to_many_who_would_not_be_shown_it(
    small_events: Interactions, cold_item: int, name: str
) -> None:
    recipe, make = PROMOTIONS[name]
    judge = Judge.full(small_events, cold_item, 20)
    attacked = run(small_events, recipe, judge, 5, 0, make(small_events, cold_item), LIARS)[-1]
    clean = run(small_events, recipe, judge, 5, 0, None, 0)[-1]
    assert attacked.er10 is not None
    assert clean.er10 is not None
    assert clean.er10 < 0.1
    assert attacked.er10 > 0.25


NETWORKS: dict[str, Callable[[int, torch.Generator], NetworkLiars]] = {
    "a-ra": lambda target, generator: RandomUsers(target=target, hard=False, generator=generator),
    "a-hum": lambda target, generator: RandomUsers(target=target, hard=True, generator=generator),
    "psmu": lambda target, generator: SyntheticUsers(target=target, generator=generator, steps=5),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_an_attack_on_a_network_shows_a_cold_item_to_many(
    small_events: Interactions, cold_item: int, seeded: torch.Generator, name: str
) -> None:
    judge, recipe = Judge.full(small_events, cold_item, 20), NetworkRecipe(rate=0.05, clients_a_step=64)
    (clean,) = run_network(small_events, recipe, judge, [6], 0, None, 0)
    (attacked,) = run_network(small_events, recipe, judge, [6], 0, NETWORKS[name](cold_item, seeded), LIARS)
    assert attacked.er20 is not None
    assert clean.er20 is not None
    assert clean.er20 < 0.1
    assert attacked.er20 > 0.4


@pytest.mark.parametrize("blind", [False, True])
def test_spattack_keeps_a_server_that_averages_rows_from_learning(
    small_events: Interactions, seeded: torch.Generator, blind: bool
) -> None:
    recipe = Recipe(rate=0.1, loss="pairwise", joined="mean", clients_a_step=None, dim=8)
    judge = Judge.full(small_events, None, 20)
    liars = Blind(generator=seeded) if blind else Omniscient(liars=LIARS)
    clean, attacked = (run(small_events, recipe, judge, 20, 0, some, LIARS)[-1].hr for some in (None, liars))
    assert clean > 0.15
    assert attacked < 0.6 * clean


def test_omniscient_liars_leave_the_table_as_it_was(small_events: Interactions) -> None:
    recipe = Recipe(rate=0.1, loss="pairwise", joined="mean", clients_a_step=None, dim=8)
    world = World(events=small_events, recipe=recipe, generator=torch.Generator().manual_seed(0))
    before = world.items.clone()
    world.iterate(Omniscient(liars=LIARS), LIARS, 1)
    torch.testing.assert_close(world.items, before, rtol=0, atol=1e-7)


def test_cluster_attack_draws_rows_together_at_an_honest_length(
    small_events: Interactions, seeded: torch.Generator
) -> None:
    def spread(attacked: bool) -> float:
        world = AdamWorld(events=small_events, recipe=AdamRecipe(dim=8), generator=torch.Generator().manual_seed(0))
        spoilers = ClusterAttack(liars=torch.arange(12), generator=seeded) if attacked else None
        for _ in range(30):
            world.round(spoilers)
        centres, nearest = k_means(world.items, 2, torch.Generator().manual_seed(0))
        return float((world.items - centres[nearest]).norm())

    assert spread(attacked=True) < 0.7 * spread(attacked=False)


def test_the_number_of_clusters_follows_the_spread_once_it_has_moved_one_way_for_long() -> None:
    growing, shrinking = ClusterCount(patience=3), ClusterCount(patience=3, count=11)
    for step in range(4):
        growing.see(1.0 + step)
        shrinking.see(9.0 - step)
    assert (growing.count, shrinking.count) == (9, 8)  # 2 + sqrt(48), 11 - sqrt(10)


def test_fedrec_attack_s_change_is_autograd_of_its_loss(seeded: torch.Generator) -> None:
    users, items = torch.randn(6, 4, generator=seeded), torch.randn(20, 4, generator=seeded)
    met = torch.zeros(6, 20, dtype=torch.bool)
    met[0, 3] = met[1, 5] = met[2, 0] = True
    table = items.clone().requires_grad_(True)
    loss = torch.zeros(())
    for user in range(6):
        if met[user, 3]:
            continue
        order = (items @ users[user]).argsort(descending=True).tolist()
        rival = [item for item in order if item != 3 and not met[user, item]][4]
        gap = users[user] @ (table[rival] - table[3])
        loss = loss + (gap if gap > 0 else gap.exp() - 1)
    (gradient,) = torch.autograd.grad(loss, table)
    torch.testing.assert_close(promotion(items, users, met, 3, k=5), -gradient)


def test_liars_of_one_step_share_out_what_is_to_be_sent(small_events: Interactions, seeded: torch.Generator) -> None:
    known, items = leaked(small_events, 0.01, seeded), torch.randn(600, 8, generator=seeded)
    attack = FedRecAttack(num_users=120, target=7, known=known, generator=seeded, row_bound=1e-3)
    first, second = attack.send(View(iteration=1, items=items, liars=[0, 1], honest=torch.zeros_like(items)))
    twice = (first != 0).any(dim=1) & (second != 0).any(dim=1)
    assert int((first != 0).any(dim=1).sum()) == 60
    assert bool(twice[7])  # the target
    # only what the first could not send whole is left to the second
    torch.testing.assert_close(first[twice].norm(dim=1), torch.full((int(twice.sum()),), 1e-3))


def test_leaked_events_are_a_hundredth_of_each_user_s_rounded_up(
    small_events: Interactions, seeded: torch.Generator
) -> None:
    users, items = leaked(small_events, 0.01, seeded)
    expected = torch.ceil(0.01 * torch.bincount(small_events.users, minlength=120))
    assert torch.equal(torch.bincount(users, minlength=120).float(), expected)
    assert bool(small_events.met(tests=False)[users, items].all())


def test_hard_users_like_the_target_less(small_events: Interactions, seeded: torch.Generator) -> None:
    world = NetworkWorld(events=small_events, recipe=NetworkRecipe(scale=0.5), generator=seeded)
    users = 0.5 * torch.randn(5, 8, generator=seeded)
    hard = hardened_network(world.shared, 4, users, 30, 0.05)
    before, after = (world_score(world, some, 4) for some in (users, hard))
    assert float((after - before).max()) <= 0
    assert float((after - before).min()) < 0


def world_score(world: NetworkWorld, users: torch.Tensor, item: int) -> torch.Tensor:
    """The network's logits of made-up users for one item."""
    world.users[: len(users)] = users
    return world.scores(torch.arange(len(users)))[:, item]


def test_pieck_s_pull_to_served_items_is_its_authors_loop_that_never_resets_the_gradient(
    seeded: torch.Generator,
) -> None:
    items, popular = torch.randn(40, 4, generator=seeded), torch.arange(10, 30)
    row, total = items[2].clone().requires_grad_(True), torch.zeros(4)
    for part in range(5):
        users = items[popular[part * 4 : part * 4 + 4]]
        for _ in range(3):
            loss = functional.binary_cross_entropy(torch.sigmoid(users @ row), torch.ones(4)) / 5
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
            assert row.grad is not None
            total += row.grad / 3
    change = pull_to_served(items, torch.tensor([2]), popular)
    torch.testing.assert_close(change[2], -total)
    assert int((change != 0).any(dim=1).sum()) == 1


def test_pieck_s_pull_to_popular_items_averages_both_sides_apart(seeded: torch.Generator) -> None:
    items, popular = torch.randn(40, 4, generator=seeded), torch.arange(10, 30)
    row = items[2].clone().requires_grad_(True)
    weights = torch.arange(20, 0, -1) / 210
    cosines = weights * torch.cosine_similarity(items[popular], row[None].expand(20, -1), dim=1)
    near, far = cosines[cosines > 0], cosines[cosines <= 0]
    (0.9 * (near.sum() / len(near) + far.sum() / len(far))).backward()  # type: ignore[no-untyped-call]  # torch
    assert row.grad is not None
    torch.testing.assert_close(pull_to_popular(items, torch.tensor([2]), popular)[2], row.grad)


def test_a_row_moved_as_pip_attack_says_is_taken_for_a_popular_one(seeded: torch.Generator) -> None:
    items = torch.randn(200, 6, generator=seeded)
    items[:20] += 2.0
    levels = popularity_levels(torch.arange(200, 0, -1))
    assert torch.bincount(levels).tolist() == [90, 90, 20]
    weights, bias = classifier = level_classifier(items, levels)
    assert float(((items @ weights + bias).argmax(dim=1) == 2)[:20].float().mean()) > 0.9
    row = items[150].clone()
    for _ in range(200):
        row += 0.1 * looking_popular(row, classifier)
    assert int((row @ weights + bias).argmax()) == 2
