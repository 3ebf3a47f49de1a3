"""A strategy that is called where it has not come to yet, and runs that end where they had just begun."""

import logging

import numpy as np
import pytest
from flwr.app import ConfigRecord

from fedrec.errors import BudgetExceededError
from fedrec.flower.journal import MemoryJournal, Opened
from fedrec.flower.steps import after_release
from fedrec.flower.wire import write_arrays
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.population import Accounts
from fedrec.rounds import Contribution


def test_a_round_is_configured_after_the_start_and_aggregated_after_it_was_configured(script, bench, shared):
    strategy = bench.strategy()
    with pytest.raises(RuntimeError, match="start the strategy before it configures rounds"):
        strategy.configure_train(1, write_arrays(shared), ConfigRecord(), script([2]).grid())
    with pytest.raises(RuntimeError, match="no round has begun"):
        strategy.aggregate_train(1, [])


def test_nothing_is_asked_of_nodes_for_evaluation_and_the_terms_are_said_on_a_line(script, bench, shared, caplog):
    strategy = bench.strategy()
    assert list(strategy.configure_evaluate(1, write_arrays(shared), ConfigRecord(), script([2]).grid())) == []
    assert strategy.aggregate_evaluate(1, []) is None
    with caplog.at_level(logging.INFO):
        strategy.summary()
    assert "terms: Terms(" in caplog.text


@pytest.mark.parametrize("popularity", [False, True])
def test_a_run_whose_first_release_another_run_was_faster_with_is_no_run(popularity, script, bench, plan, monkeypatch):
    def beaten(*_):
        raise BudgetExceededError("another run was faster")

    monkeypatch.setattr(Ledger, "charge", beaten)
    with pytest.raises(BudgetExceededError, match="faster"):
        bench.start(bench.strategy(plan=plan(popularity=popularity), popularity=popularity), script([2]).grid(), 2)
    assert bench.ledger.charges() == []


def test_a_run_without_budget_for_its_statistics_stops_before_anybody_is_asked(script, bench, plan, monkeypatch):
    monkeypatch.setattr(Accounts, "refuse", lambda *_: None)  # something was released before
    monkeypatch.setattr(Accounts, "afford", lambda *_: False)
    strategy, nodes = bench.strategy(plan=plan(popularity=True)), script([2])
    bench.start(strategy, nodes.grid(), 2)
    assert (strategy.stopped, nodes.tasks) == ("budget", [])
    assert [(state.round, state.awaits_statistics) for state in bench.saved] == [(0, True)]


def test_a_round_that_a_crash_left_open_without_an_outcome_is_told_of_once_and_the_run_goes_on(script, bench):
    first, journal = bench.strategy(), MemoryJournal()
    bench.start(first, script([2]).grid(), 2)
    told = len(bench.reports)
    state = first.state
    journal.open(Opened(run_id=state.run_id, number=state.round, attempt=0, terms="t", cohort=np.arange(2), nonces={}))
    second = bench.strategy(resume=state, journal=journal)
    bench.start(second, script([2]).grid(), 3)
    assert second.state.round == 3
    assert [report.round for report in bench.reports[told:]] == [3]


def test_a_node_that_came_after_the_roster_was_frozen_is_not_asked(script, bench):
    first = bench.strategy()
    bench.start(first, script([2]).grid(), 1)
    grown = script([2, 5])
    bench.start(bench.strategy(resume=first.state), grown.grid(), 2)
    assert {key for key, _ in grown.tasks} == {"node-0"}


def test_item_vectors_are_not_solved_without_released_counts(script, bench, shared):
    strategy = bench.strategy()
    bench.start(strategy, script([2]).grid(), 1)
    with pytest.raises(ValueError, match="solved with released item counts, which this run lacks"):
        after_release(strategy._terms, strategy.state, Contribution.FACTORS, shared, 1, noised=False)
