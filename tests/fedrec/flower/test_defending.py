from dataclasses import replace

import numpy as np
import pytest
import torch

from fedrec.aggregation.defences import Known, defences
from fedrec.aggregation.exact_sum import ExactSum
from fedrec.aggregation.robust import Median
from fedrec.aggregation.wrappers import Capped, Clipped
from fedrec.config import FederationConfig, LocalConfig, ModelConfig, RobustnessConfig, TrainingConfig
from fedrec.flower.defending import rule_for, weights_of, with_rows_held
from fedrec.flower.enrolment import DictEnrolment
from fedrec.flower.roster import Roster
from fedrec.flower.terms import Terms
from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, NodeCard, TrainTask

ITEMS = 60
BOTS = ("bot1", "bot2", "bot3")
TABLE = "factors.embedding"
SHARED = SharedState({TABLE: torch.ones(ITEMS, 4)})
ROSTER = Roster(cards=tuple(NodeCard(key=key, num_users=1, catalogue_digest="c") for key in ("anna", *BOTS)))


def terms(config: RobustnessConfig) -> Terms:
    return Terms(
        model=ModelConfig(dim=4, branches=("mf",)),
        training=TrainingConfig(),
        federation=FederationConfig(),
        catalogue_digest="c",
        num_items=ITEMS,
        popularity=True,
        enrolment=DictEnrolment(dict.fromkeys(("anna", *BOTS), "pem"), dict.fromkeys(BOTS, "mallory")),
        robustness=config,
    )


def task(mechanism: Mechanism | None) -> TrainTask:
    return TrainTask(
        run_id="run",
        round=1,
        nonce="",
        contribution=Contribution.UPDATE,
        shared=SHARED,
        model=ModelConfig(dim=4, branches=("mf",)),
        model_digest="m",
        catalogue_digest="c",
        participants=np.arange(4),
        local=LocalConfig(),
        mechanism=mechanism,
    )


def test_without_privacy_replies_are_bounded_and_summed_exactly() -> None:
    rule = rule_for(terms(RobustnessConfig.guarded()), task(None), ROSTER)
    assert isinstance(rule, Clipped)
    assert isinstance(rule.inner, ExactSum)
    rule.add("anna", {TABLE: torch.full((ITEMS, 4), 50.0)}, 1)
    assert float(rule.close().total[TABLE].norm()) <= 2.0 + 1e-6


@pytest.mark.parametrize("placement", ["central", "device"])
def test_under_privacy_the_bounds_are_the_mechanisms(placement: str) -> None:
    mechanism = Mechanism(clip_norm=9.0, noise_multiplier=1.0, sample_rate=1.0, population=4, placement=placement)  # type: ignore[arg-type]  # a word of it
    rule = rule_for(terms(RobustnessConfig.guarded()), task(mechanism), ROSTER)
    assert isinstance(rule, ExactSum)


def test_the_devices_noise_goes_with_a_median() -> None:
    mechanism = Mechanism(clip_norm=9.0, noise_multiplier=1.0, sample_rate=1.0, population=4, placement="device")
    assert isinstance(rule_for(terms(RobustnessConfig(rule="median")), task(mechanism), ROSTER), Median)


def test_statistics_are_summed_whatever_the_rule() -> None:
    asked = replace(task(None), contribution=Contribution.POPULARITY)
    assert isinstance(rule_for(terms(RobustnessConfig(rule="median")), asked, ROSTER), ExactSum)


@pytest.mark.abuse
def test_d54_an_owners_devices_share_the_owners_weight() -> None:
    config = RobustnessConfig(owner_share=0.3)
    assert weights_of(terms(config), ROSTER) == pytest.approx(dict.fromkeys(BOTS, 0.4))
    rule = rule_for(terms(config), task(None), ROSTER)
    assert isinstance(rule, Capped)


def test_a_row_that_outgrows_its_kind_is_held_after_a_step() -> None:
    grown = SharedState({TABLE: torch.ones(ITEMS, 4)})
    grown[TABLE][7] *= 100
    held = with_rows_held(terms(RobustnessConfig.guarded()), grown, torch.arange(ITEMS).float())
    assert float(held[TABLE][7].norm()) == pytest.approx(3.0)
    assert with_rows_held(terms(RobustnessConfig()), grown, torch.arange(ITEMS).float()) is grown


@pytest.mark.parametrize("name", sorted(defences(clip_norm=1.0, row_clip_norm=0.1)))
def test_each_named_defence_takes_replies_in_any_order(name: str) -> None:
    defence = defences(clip_norm=1.0, row_clip_norm=0.1)[name]
    known = Known(item_tables={TABLE}, template=SHARED)
    replies = {
        f"node {i}": {TABLE: torch.randn(ITEMS, 4, generator=torch.Generator().manual_seed(i))} for i in range(6)
    }
    totals = []
    for keys in (sorted(replies), sorted(replies, reverse=True)):
        rule = defence.rule(known)
        for key in keys:
            rule.add(key, replies[key], 1)
        totals.append(rule.close().total[TABLE])
    assert torch.equal(*totals)
