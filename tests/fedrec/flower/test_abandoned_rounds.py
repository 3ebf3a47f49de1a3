"""Rounds of which nothing comes: the model stays, what was released stays charged, and the reason is said."""

import pytest
import torch
from flwr.app import Error, Message

from fedrec.errors import RoundFailedError
from fedrec.flower.clock import Clock
from fedrec.flower.wire import write_refusal
from fedrec.models.split import SharedState
from fedrec.privacy.accounts.entries import Outcome
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import Refusal, RefusalReason


def refuse(message, task):
    return write_refusal(Refusal(nonce=task.nonce, reason=RefusalReason.BUDGET, detail="spent"), to=message)


def assert_equal(one: SharedState, other: SharedState) -> None:
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_too_few_replies_void_the_round_with_model_and_ledger_as_before(script, bench, shared, plan):
    nodes = script([1, 1, 1], replies={"node-1": refuse, "node-2": refuse})
    strategy = bench.strategy(plan=plan(), minimum_replies=0.5)
    with pytest.raises(
        RoundFailedError, match=r"round 1: 1 of 3 nodes replied usably, 2 are needed \(2 x budget: spent"
    ):
        bench.start(strategy, nodes.grid(), rounds=1)
    assert_equal(strategy.state.shared, shared)
    assert bench.ledger.entries() == []
    assert bench.saved[-1].round == 0


def test_a_round_for_fewer_users_than_the_minimum_cohort_is_abandoned(script, bench, shared, plan):
    nodes = script([3, 1], replies={"node-0": refuse})
    strategy = bench.strategy(plan=plan(), federation={"minimum_cohort": 2})
    with pytest.raises(
        RoundFailedError, match=r"1 of 2 nodes replied usably for 1 users, 2 are needed .*minimum_cohort"
    ):
        bench.start(strategy, nodes.grid(), rounds=1)
    assert_equal(strategy.state.shared, shared)
    assert bench.ledger.entries() == []


def test_statistics_that_devices_noised_in_vain_stay_charged_and_end_the_run(script, bench, shared):
    def plan(population: int) -> RunPlan:
        mechanism = Mechanism(
            clip_norm=100.0, noise_multiplier=1.0, sample_rate=1.0, population=population, placement="device"
        )
        return RunPlan(
            training=mechanism,
            popularity=mechanism,
            rounds=10,
            epsilon_budget=1000.0,
            delta=1e-5,
            guarantee=Guarantee(adjacency="zero-out", adversary="server"),
        )

    strategy = bench.strategy(plan=plan, federation={"abandoned_in_a_row": 3})
    with pytest.raises(RoundFailedError, match="round 0"):
        bench.start(strategy, script([2, 1], replies={"node-0": refuse, "node-1": refuse}).grid(), rounds=1)
    assert [charge.name for charge in bench.ledger.charges()] == ["popularity"]
    assert [line.kind for line in bench.ledger.entries() if isinstance(line, Outcome)] == ["abort"]
    assert strategy.state.round == 0
    assert strategy.state.popularity is None
    assert_equal(strategy.state.shared, shared)


def test_the_reason_of_a_voided_round_stays_short(script, bench):
    traceback = "begin " + "x" * 1_000 + " end"
    nodes = script([1], replies={"node-0": lambda message, task: Message(Error(1, traceback), reply_to=message)})
    with pytest.raises(RoundFailedError, match=r"2 x begin x+ \.\.\. x+ end") as caught:
        bench.start(bench.strategy(clock=Clock(sleep=lambda seconds: None)), nodes.grid(), rounds=1)
    assert len(str(caught.value)) < 500
