"""Both worlds on a small made-up set: attacks work where nothing is done about them, and clean twins are twins."""

from functools import cache

import numpy as np
import pytest
import torch

from fedrec.aggregation.defences import Defence, Known, defences
from fedrec.config import DataConfig, Scenario
from fedrec.config.robustness import RobustnessConfig
from fedrec.data.load import load_dataset
from fedrec.models.split import trainable
from simulations.attacks.cells import Course, Setting, rare_target
from simulations.attacks.factors import FactorWorld
from simulations.attacks.factors import _Play as FactorPlay
from simulations.attacks.registry import ATTACKS
from simulations.attacks.world import World
from simulations.attacks.world import _Play as OurPlay

DATA = DataConfig(source="synthetic", synthetic_users=400, synthetic_items=150)
TRIED = defences(clip_norm=4.0, row_clip_norm=0.3)
NONE = Defence(config=RobustnessConfig())


@cache
def factors() -> FactorWorld:
    return FactorWorld(dataset=load_dataset(DATA, 0), iterations=25)


@cache
def played(attack: str | None, defence: str, fraction: float = 0.05, seed: int = 4) -> Course:
    world = factors()
    kind = ATTACKS[attack] if attack else None
    target = rare_target(world.popularity, seed)
    return world.play(
        Setting(kind=kind, fraction=fraction, defence=TRIED[defence], seed=seed, target=target), looks=100
    )


@pytest.mark.abuse
@pytest.mark.parametrize(
    "attack", ["pieck-uea", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pieck-ipe", "pip-attack"))]
)
def test_d51_an_item_is_promoted_where_nothing_is_done_and_not_under_the_growth_bound(attack: str) -> None:
    undefended, defended = played(attack, "none").last, played(attack, "growth").last
    assert played(None, "none").last.er <= 0.02
    assert undefended.er >= 0.5, f"{attack}: no power, ER@10 {undefended.er:.3f}"
    assert defended.er <= 0.1, f"{attack}: ER@10 {defended.er:.3f} of {undefended.er:.3f}"


@pytest.mark.abuse
@pytest.mark.parametrize("attack", ["spattack-omniscient", "cluster-attack"])
def test_d51_lists_are_spoilt_where_nothing_is_done(attack: str) -> None:
    clean, spoilt = played(None, "none").last, played(attack, "none").last
    assert spoilt.hr <= 0.7 * clean.hr, f"{attack}: no power, HR@10 {spoilt.hr:.3f} of {clean.hr:.3f}"


@pytest.mark.abuse
def test_d56_a_fifth_of_flipped_interactions_costs_at_most_a_tenth_of_the_hit_rate() -> None:
    # a liar who trains honestly on made-up data has an honest client's influence, in a direction of its own
    clean, flipped = played(None, "none").last, played("flipping", "none", fraction=0.2).last
    assert flipped.hr >= 0.9 * clean.hr, f"HR@10 {flipped.hr:.3f} of {clean.hr:.3f}"


def test_riders_who_send_nothing_change_nothing_where_updates_are_summed() -> None:
    clean, ridden = played(None, "none").last, played("free-riders-zero", "none").last
    assert ridden == clean


def test_many_clients_bounded_at_once_come_to_what_the_rule_makes_of_each() -> None:
    world = factors()
    config = RobustnessConfig(clip_norm=2.0, items_clip_norm=1.5, row_clip_norm=0.2)
    setting = Setting(kind=None, fraction=0, defence=Defence(config=config), seed=1, target=0)
    play = FactorPlay(world, setting)
    owners, items, rows = play.honest.train(torch.arange(30), play.items)
    rule = setting.defence.rule(Known(item_tables={"items"}, template={"items": play.items}))
    for client in range(30):
        rule.add(str(client), {"items": play._dense(items[owners == client], rows[owners == client])}, 1)
    together = play._dense(items, play._bounded(owners, rows, 30, config))
    torch.testing.assert_close(together, rule.close().total["items"].float(), rtol=1e-4, atol=1e-6)
    assert float(together.norm()) < 0.9 * float(play._dense(items, rows).norm())  # the bounds do something


@pytest.mark.parametrize("defence", ["none", "bounds", "median"])
@pytest.mark.parametrize("attack", ["pieck-uea", "spattack-omniscient", "flipping", "free-riders-echo"])
def test_our_own_model_plays_every_kind_of_attack_against_every_kind_of_rule(attack: str, defence: str) -> None:
    config = {
        "none": RobustnessConfig(),
        "bounds": RobustnessConfig(clip_norm=1.0, items_clip_norm=0.5, row_clip_norm=0.2, growth=2.0),
        "median": RobustnessConfig(rule="median"),
    }[defence]
    world = World(scenario=SMALL, dataset=load_dataset(SMALL.data, 0))
    target = rare_target(world.popularity, 0)
    setting = Setting(kind=ATTACKS[attack], fraction=0.2, defence=Defence(config=config), seed=0, target=target)
    course = world.play(setting, looks=1)
    assert sorted(course.looks) == [1, 2, 3]
    assert all(0 <= look.er <= 1 and 0 <= look.hr <= 1 for look in course.looks.values())


def test_under_user_level_privacy_no_lie_is_longer_than_the_clip_norm() -> None:
    world = World(scenario=SMALL, dataset=load_dataset(SMALL.data, 0))
    setting = Setting(
        kind=ATTACKS["spattack-blind"],
        fraction=0.2,
        defence=NONE,
        seed=0,
        target=rare_target(world.popularity, 0),
        private=True,
    )
    play = OurPlay(world, setting)
    play._start()
    assert play.plan is not None
    mechanism = play.plan.mechanism(1)
    honest = {name: torch.zeros_like(value) for name, value in trainable(play.shared).items()}
    lies = play._lies(honest, 1e6, np.arange(play.num_liars), 1, mechanism)
    lengths = [float(torch.stack([value.norm() for value in lie.values()]).norm()) for _, lie in lies]
    assert len(lengths) == play.num_liars > 1
    assert lengths == pytest.approx([mechanism.clip_norm] * len(lies), rel=1e-5)


SMALL = Scenario.model_validate(
    {
        "data": {"source": "synthetic", "synthetic_users": 40, "synthetic_items": 60},
        "model": {"dim": 8, "history_length": 10},
        "training": {"rounds": 3, "sample_rate": 0.5},
        "privacy": {"epsilon": 8.0, "delta": 1e-3},
    }
)
