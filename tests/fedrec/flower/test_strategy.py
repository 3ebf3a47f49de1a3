"""The round: who is asked, what is summed, when it is charged, and how a run ends or goes on."""

from dataclasses import replace

import pytest
import torch
from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.serverapp.strategy import Strategy
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fedrec.codecs import codec_for
from fedrec.config import CodecConfig
from fedrec.errors import BudgetExceededError, LedgerError, ModelMismatchError, RoundFailedError
from fedrec.flower import releases
from fedrec.flower.state import Randomness
from fedrec.flower.wire import write_arrays, write_refusal
from fedrec.models.split import SharedState, state_digest
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.population import Accounts, PopulationBudget
from fedrec.privacy.release import release
from fedrec.privacy.sampling import poisson_cohort
from fedrec.rounds import Contribution, Refusal, RefusalReason

SEEDS = Randomness(cohort_seed=3, noise_seed=4)


def assert_equal(one: SharedState, other: SharedState) -> None:
    assert all(torch.equal(one[name], other[name]) for name in other)


# --- the mean -----------------------------------------------------------------------------------------------------
def test_without_privacy_the_server_steps_along_the_mean_over_users(script, bench, shared):
    result = bench.start(bench.strategy(), script([2, 3]).grid(), rounds=1)
    assert_equal(result, SharedState({name: tensor + 1.0 for name, tensor in shared.items()}))
    assert not bench.ledger_path.exists()


def test_a_node_counts_as_many_users_as_it_has(script, bench, shared):
    def update(task, key):  # node-1's single user adds 5, node-0's four users nothing
        return SharedState({name: torch.full_like(t, 5.0 * (key == "node-1")) for name, t in task.shared.items()})

    result = bench.start(bench.strategy(), script([4, 1], update=update).grid(), rounds=1)
    assert_equal(result, SharedState({name: tensor + 1.0 for name, tensor in shared.items()}))


def test_with_privacy_the_step_is_the_release_of_the_sum(script, bench, shared, plan):
    strategy = bench.strategy(plan=plan(), randomness=SEEDS)
    result = bench.start(strategy, script([2, 3]).grid(), rounds=1)
    total = SharedState({name: torch.full_like(tensor, 5.0) for name, tensor in shared.items()})
    mean = release(total, plan()(5).training, SEEDS.noise(1))
    assert_equal(result, SharedState({name: shared[name] + mean[name] for name in shared}))


def test_a_reply_that_is_lost_does_not_change_the_divisor_of_a_release(script, bench, shared, plan):
    lost = {"node-1": lambda message, task: Message(Error(1, "gone"), reply_to=message)}
    strategy = bench.strategy(plan=plan(), randomness=SEEDS)
    result = bench.start(strategy, script([2, 3], replies=lost).grid(), rounds=1)
    total = SharedState({name: torch.full_like(tensor, 2.0) for name, tensor in shared.items()})
    mean = release(total, plan()(5).training, SEEDS.noise(1))
    assert_equal(result, SharedState({name: shared[name] + mean[name] for name in shared}))


def test_popularity_comes_first_and_its_release_is_kept(script, bench, plan):
    nodes = script([2, 3])
    strategy = bench.strategy(plan=plan(popularity=True), randomness=SEEDS)
    bench.start(strategy, nodes.grid(), rounds=1)
    counts = release(SharedState({"counts": torch.full((5,), 5.0)}), plan()(5).training, SEEDS.noise(0))
    assert torch.equal(strategy.state.popularity, counts["counts"])
    assert [charge.name for charge in bench.ledger.charges()] == ["popularity", "training"]
    assert [task.contribution for _, task in nodes.tasks][:2] == [Contribution.POPULARITY] * 2
    assert [report.round for report in bench.reports] == [0, 1]


@pytest.mark.parametrize("popularity", [True, False])
def test_without_privacy_popularity_is_a_setting(script, bench, popularity):
    strategy = bench.strategy(popularity=popularity)
    bench.start(strategy, script([2, 3]).grid(), rounds=1)
    assert (strategy.state.popularity is not None) == popularity
    if popularity:
        assert torch.equal(strategy.state.popularity, torch.ones(5))


# --- cohorts ------------------------------------------------------------------------------------------------------
def test_the_cohort_is_poisson_over_the_frozen_roster_and_only_its_nodes_are_asked(script, bench):
    nodes = script([4, 1, 1, 4])
    bench.start(bench.strategy(sample_rate=0.3, randomness=SEEDS), nodes.grid(), rounds=6)
    starts = {"node-0": 0, "node-1": 4, "node-2": 5, "node-3": 6}
    for number in range(1, 7):
        asked = [starts[key] + p for key, task in nodes.tasks if task.round == number for p in task.participants]
        assert asked == poisson_cohort(10, 0.3, SEEDS.cohort(number)).tolist()


def test_cohorts_from_the_operating_system_differ_from_run_to_run():
    unseeded = Randomness(cohort_seed=None, noise_seed=None)
    draws = {tuple(poisson_cohort(1000, 0.5, unseeded.cohort(1))) for _ in range(3)}
    assert len(draws) == 3


def test_seeds_are_not_shown():
    assert "3" not in repr(SEEDS)


def test_a_round_without_a_sampled_user_asks_nobody_and_still_releases_noise(script, bench, shared, plan):
    nodes = script([2, 3])
    strategy = bench.strategy(plan=plan(sample_rate=1e-9), sample_rate=1e-9, randomness=SEEDS)
    result = bench.start(strategy, nodes.grid(), rounds=1)
    assert nodes.tasks == []
    assert [charge.round for charge in bench.ledger.charges()] == [1]
    assert all(not torch.equal(result[name], shared[name]) for name in shared)
    assert bench.reports[0].sampled_users == bench.reports[0].asked == 0


def test_a_round_without_a_sampled_user_and_without_privacy_leaves_the_model(script, bench, shared):
    result = bench.start(bench.strategy(sample_rate=1e-9), script([2, 3]).grid(), rounds=2)
    assert_equal(result, shared)


# --- odd nodes ----------------------------------------------------------------------------------------------------
def poison(message, task):
    """A reply that claims to speak for all users, with a tensor too many."""
    return Message(RecordDict({"reply": ConfigRecord({"nonce": task.nonce, "num-users": 10**9})}), reply_to=message)


def refuse(message, task):
    return write_refusal(Refusal(nonce=task.nonce, reason=RefusalReason.BUDGET, detail="spent"), to=message)


def test_bad_replies_and_refusals_are_reported_and_the_round_goes_on(script, bench, shared):
    nodes = script([1, 1, 1, 1], replies={"node-1": poison, "node-2": refuse})
    result = bench.start(bench.strategy(), nodes.grid(), rounds=1)
    report = bench.reports[0]
    assert (report.asked, report.usable, report.num_users) == (4, 2, 2)
    assert report.refused == {"node-2": "budget"}
    assert len(report.quarantined) == 1
    assert_equal(result, SharedState({name: tensor + 1.0 for name, tensor in shared.items()}))


def test_a_reply_beyond_the_clip_norm_does_not_count(script, bench, shared, plan):
    def update(task, key):
        return SharedState({name: torch.full_like(t, 1e3 * (key == "node-0")) for name, t in task.shared.items()})

    strategy = bench.strategy(plan=plan(clip_norm=1.0), randomness=SEEDS)
    bench.start(strategy, script([1, 1], update=update).grid(), rounds=1)
    assert bench.reports[0].usable == 1
    assert "allow 1" in bench.reports[0].quarantined[0]


def test_enough_replies_close_a_round_and_all_who_were_asked_are_charged(script, bench, shared, plan):
    nodes = script([1] * 4)
    strategy = bench.strategy(plan=plan(clip_norm=100.0), federation={"enough_replies": 0.5})
    bench.start(strategy, nodes.grid(), rounds=1)
    assert [key for key, _ in nodes.tasks] == ["node-0", "node-1"]
    assert bench.reports[0].usable == 2
    assert bench.reports[0].sampled_users == 4
    (charge,) = bench.ledger.charges()
    assert charge.event == plan()(4).training.event


def test_a_voided_round_leaves_a_state_to_go_on_from(script, bench, answer):
    def fail_in_round_4(message, task):
        return refuse(message, task) if task.round == 4 else answer(nodes.update(task, ""), message, task)

    nodes = script([1], replies={"node-0": fail_in_round_4})
    with pytest.raises(RoundFailedError, match="round 4"):
        bench.start(bench.strategy(), nodes.grid(), rounds=5)
    assert bench.saved[-1].round == 3


def test_a_node_whose_message_failed_is_asked_once_more_with_the_same_nonce(script, bench, shared, answer):
    failed = []

    def fail_once(message, task):
        if not failed:
            failed.append(task.nonce)
            return Message(Error(5, "node is gone"), reply_to=message)
        assert task.nonce == failed[0]
        return answer(nodes.update(task, "node-1"), message, task)

    nodes = script([1, 1], replies={"node-1": fail_once})
    bench.start(bench.strategy(minimum_replies=1.0), nodes.grid(), rounds=1)
    assert (bench.reports[0].usable, bench.reports[0].failed) == (2, ("node is gone",))
    assert [key for key, _ in nodes.tasks] == ["node-0", "node-1", "node-1"]


def test_an_answer_however_odd_is_not_asked_for_twice(script, bench):
    nodes = script([1, 1], replies={"node-1": poison})
    bench.start(bench.strategy(), nodes.grid(), rounds=1)
    assert [key for key, _ in nodes.tasks] == ["node-0", "node-1"]


def test_a_node_with_another_catalogue_is_no_part_of_the_roster(script, bench):
    nodes = script([2, 3], catalogues={"node-0": "d" * 64})
    strategy = bench.strategy()
    bench.start(strategy, nodes.grid(), rounds=1)
    assert [card.key for card in strategy.state.roster.cards] == ["node-1"]


def test_a_node_that_changed_its_number_of_users_is_not_asked(script, bench):
    first = bench.strategy(randomness=SEEDS)
    bench.start(first, script([2, 3]).grid(), rounds=1)
    grown = script([2, 4])
    bench.start(bench.strategy(resume=first.state, randomness=SEEDS), grown.grid(), rounds=2)
    assert [key for key, _ in grown.tasks] == ["node-0"]
    assert bench.reports[-1].asked == 2


def test_after_the_time_out_nobody_else_is_asked(script, bench):
    nodes = script([1, 1, 1])
    with pytest.raises(RoundFailedError, match="no reply in time"):
        bench.start(bench.strategy(minimum_replies=1.0), LateGrid(nodes.grid()), rounds=1, timeout=0.5)


class LateGrid:
    """A grid on which only the roll call is answered."""

    def __init__(self, grid):
        self._grid = grid

    def get_node_ids(self):
        return self._grid.get_node_ids()

    def send_and_receive(self, messages, *, timeout):
        messages = list(messages)
        return (
            self._grid.send_and_receive(messages, timeout=timeout)
            if messages[0].metadata.message_type == "query"
            else []
        )


# --- ending -------------------------------------------------------------------------------------------------------
def test_a_run_ends_early_when_the_caller_says_so(script, bench):
    strategy = bench.strategy(should_stop=lambda report, state: report.round == 3)
    bench.start(strategy, script([2]).grid(), rounds=10)
    assert strategy.state.round == 3
    assert strategy.stopped == "early-stop"
    assert bench.saved[-1] is strategy.state


def test_a_run_ends_before_the_round_that_would_pass_the_budget(script, bench, plan):
    nodes = script([2])
    strategy = bench.strategy(plan=plan(epsilon=9.0))
    bench.start(strategy, nodes.grid(), rounds=10)
    rounds = strategy.state.round
    assert 1 <= rounds < 10
    assert strategy.stopped == "budget"
    assert [charge.round for charge in bench.ledger.charges()] == list(range(1, rounds + 1))
    assert {task.round for _, task in nodes.tasks} == set(range(1, rounds + 1))


def test_a_run_that_another_on_the_same_people_overtakes_ends_with_what_it_has(script, bench, plan, tmp_path):
    people = PopulationBudget(path=tmp_path / "people.jsonl", epsilon=9.0)
    planned = replace(plan(epsilon=1000.0)(2), population=people)
    other = Accounts(Ledger(tmp_path / "other.jsonl"), Budget(epsilon=1000.0, delta=1e-5), planned.guarantee, people)

    def overtaken(task, key):
        """An update during which another run takes all that the people have left."""
        release = Release(run_id="other", round=1, name="x", mechanism=planned.training, noise_source="seeded: 0")
        while task.round == 2 and other.afford(release):
            other.charge(release)
        return noisy_update(task, key)

    strategy = bench.strategy(plan=lambda population: planned)
    bench.start(strategy, script([2], update=overtaken).grid(), rounds=10)
    assert (strategy.state.round, strategy.stopped) == (1, "budget")
    assert [charge.round for charge in bench.ledger.charges()] == [1]


def test_a_budget_below_one_round_is_an_error_before_any_node_is_asked(script, bench, plan):
    nodes = script([2])
    with pytest.raises(BudgetExceededError, match="below what one round costs"):
        bench.start(bench.strategy(plan=plan(epsilon=0.5)), nodes.grid(), rounds=10)
    assert nodes.tasks == []


def test_a_run_of_no_rounds_returns_the_model_as_it_came(script, bench, shared):
    assert_equal(bench.start(bench.strategy(), script([2]).grid(), rounds=0), shared)


# --- going on -----------------------------------------------------------------------------------------------------
def noisy_update(task, key):
    """An update that depends on the shared parameters, the node and the round, as training does."""
    if task.contribution is Contribution.POPULARITY:
        return SharedState({"counts": torch.arange(5.0)})
    shift = 0.1 * int(key[-1]) + 0.01 * task.round
    return SharedState({name: -0.3 * tensor + shift for name, tensor in task.shared.items()})


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_a_resumed_run_repeats_an_uninterrupted_one_bit_for_bit(script, bench, plan, private, stop):
    settings = {"plan": plan(popularity=True)} if private else {"popularity": True}
    settings |= {"randomness": SEEDS}
    whole = bench.start(bench.strategy(**settings), script([2, 3], update=noisy_update).grid(), rounds=4)
    bench.ledger_path.unlink(missing_ok=True)

    first = bench.strategy(**settings)
    bench.start(first, script([2, 3], update=noisy_update).grid(), rounds=stop)
    second = bench.strategy(**settings, resume=first.state)
    nodes = script([2, 3], update=noisy_update)
    resumed = bench.start(second, nodes.grid(), rounds=4)
    assert_equal(resumed, whole)
    assert {task.round for _, task in nodes.tasks} == set(range(stop + 1, 5))
    assert second.state.run_id == first.state.run_id
    if private:
        assert torch.equal(second.state.popularity, first.state.popularity)


def test_a_state_of_another_model_is_refused_by_the_tensor(script, bench):
    first = bench.strategy()
    bench.start(first, script([2]).grid(), rounds=1)
    other = replace(first.state, shared=SharedState({**first.state.shared, "tower.bias": torch.zeros(4)}))
    with pytest.raises(ModelMismatchError, match=r"tower\.bias"):
        bench.start(bench.strategy(resume=other), script([2]).grid(), rounds=2)


def test_a_state_whose_ledger_is_gone_is_refused(script, bench, plan):
    first = bench.strategy(plan=plan())
    bench.start(first, script([2]).grid(), rounds=1)
    bench.ledger_path.unlink()
    with pytest.raises(LedgerError):
        bench.start(bench.strategy(plan=plan(), resume=first.state), script([2]).grid(), rounds=2)


def test_every_private_round_is_saved_before_the_next_one_begins(script, bench, plan):
    bench.start(bench.strategy(plan=plan()), script([2]).grid(), rounds=3)
    assert [state.round for state in bench.saved] == [0, 1, 2, 3]


def test_open_rounds_are_saved_as_often_as_asked_and_at_the_end(script, bench):
    bench.start(bench.strategy(), script([2]).grid(), rounds=5)
    assert [state.round for state in bench.saved] == [0, 2, 4, 5]


def test_a_crash_between_charge_and_release_spends_again_and_never_less(script, bench, plan, monkeypatch):
    strategy = bench.strategy(plan=plan())

    def crash(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(releases, "release", crash)
        with pytest.raises(KeyboardInterrupt):
            bench.start(strategy, script([2]).grid(), rounds=1)
    resumed = bench.strategy(plan=plan(), resume=bench.saved[-1])
    bench.start(resumed, script([2]).grid(), rounds=1)
    assert [charge.round for charge in bench.ledger.charges()] == [1, 1]
    assert resumed.state.round == 1


# --- reports, and Flower's interface ------------------------------------------------------------------------------
def test_bytes_are_what_the_messages_of_a_round_are_serialised_to(script, bench, monkeypatch):
    grid, sent, received = script([1, 2, 1]).grid(), [], []
    deliver = grid.send_and_receive

    def watched(messages, *, timeout=None):
        for message in messages:
            sent.append(message)
        for reply in deliver(sent[-len(messages) :], timeout=timeout):
            received.append(reply)
            yield reply

    monkeypatch.setattr(grid, "send_and_receive", watched)
    bench.start(bench.strategy(), grid, rounds=1)

    def serialised(messages):
        trained = [message for message in messages if message.metadata.message_type == MessageType.TRAIN]
        assert len(trained) == 3
        objects = [thing for message in trained for thing in get_all_nested_objects(message).values()]
        return sum(len(thing.deflate()) for thing in objects)

    assert (bench.reports[0].bytes_down, bench.reports[0].bytes_up) == (serialised(sent), serialised(received))


# --- codecs -------------------------------------------------------------------------------------------------------
LOW_RANK = CodecConfig(name="low-rank", rank=1)


def random_update(task, key):
    generator = torch.Generator().manual_seed(int(key[-1]))
    if task.contribution is Contribution.POPULARITY:
        return SharedState({"counts": torch.full((5,), float(len(task.participants)))})
    return SharedState({name: torch.randn(t.shape, generator=generator) for name, t in task.shared.items()})


def test_tasks_carry_the_codec_of_the_federation(script, bench):
    nodes = script([2, 3])
    bench.start(bench.strategy(codec=LOW_RANK), nodes.grid(), rounds=1)
    assert [task.codec for _, task in nodes.tasks] == [LOW_RANK, LOW_RANK]


@pytest.mark.parametrize("name", ["fp16", "int8", "low-rank", "row-subset"])
def test_without_privacy_the_step_is_the_mean_of_what_the_encoded_sums_decode_to(script, bench, shared, name):
    config = CodecConfig(name=name, rank=1)
    nodes = script([2, 3], update=random_update)
    result = bench.start(bench.strategy(codec=config), nodes.grid(), rounds=1)
    codec = codec_for(config, 0, 1)
    sums = [codec.decode(codec.encode(random_update(task, key)), shared) for key, task in nodes.tasks]
    for name, tensor in shared.items():
        mean = (sums[0][name].double() + sums[1][name].double()) / 5
        assert torch.equal(result[name], tensor + mean.to(tensor.dtype))


def test_under_a_linear_codec_noise_moves_nothing_outside_its_subspace(script, bench, shared, plan):
    strategy = bench.strategy(plan=plan(), randomness=SEEDS, codec=LOW_RANK)
    result = bench.start(strategy, script([2, 3], update=random_update).grid(), rounds=1)
    codec = codec_for(LOW_RANK, 0, 1)
    step = SharedState({name: result[name] - shared[name] for name in shared})
    torch.testing.assert_close(codec.project(step), step, rtol=0, atol=1e-5)
    assert torch.linalg.matrix_rank(step["tower.weight"], atol=1e-4) == 1


def test_the_ledger_has_the_digest_of_the_projected_mean_which_alone_is_released(script, bench, shared, plan):
    strategy = bench.strategy(plan=plan(), randomness=SEEDS, codec=LOW_RANK)
    nodes = script([2, 3], update=random_update)
    bench.start(strategy, nodes.grid(), rounds=1)
    codec = codec_for(LOW_RANK, 0, 1)
    sums = [codec.decode(codec.encode(random_update(task, key)), shared) for key, task in nodes.tasks]
    total = SharedState({name: (sums[0][name].double() + sums[1][name].double()).float() for name in shared})
    noisy = release(total, plan()(5).training, SEEDS.noise(1))
    _, outcome, _ = bench.ledger.entries()
    assert outcome.digest == state_digest(codec.project(noisy))


@pytest.mark.parametrize("name", ["int8", "low-rank", "row-subset"])
def test_statistics_before_training_are_sent_as_they_are(script, bench, plan, name):
    strategy = bench.strategy(
        plan=plan(popularity=True), randomness=SEEDS, codec=CodecConfig(name=name, rank=1, row_share=0.01)
    )
    bench.start(strategy, script([2, 3]).grid(), rounds=0)
    counts = release(SharedState({"counts": torch.full((5,), 5.0)}), plan()(5).training, SEEDS.noise(0))
    assert torch.equal(strategy.state.popularity, counts["counts"])


def test_epsilon_is_reported_with_privacy_only(script, bench, plan):
    bench.start(bench.strategy(plan=plan()), script([2]).grid(), rounds=2)
    bench.start(bench.strategy(), script([2]).grid(), rounds=1)
    one, two, none = [report.epsilon for report in bench.reports]
    assert 0 < one < two
    assert none is None


def test_it_is_a_strategy_of_flower_that_asks_nothing_for_evaluation(bench, script):
    strategy = bench.strategy()
    assert isinstance(strategy, Strategy)
    assert list(strategy.configure_evaluate(1, write_arrays(bench.shared), ConfigRecord(), script([1]).grid())) == []
    assert strategy.aggregate_evaluate(1, []) is None


def test_settings_beside_the_constructor_are_refused(bench, script):
    with pytest.raises(ValueError, match="in the constructor"):
        bench.strategy().start(script([1]).grid(), write_arrays(bench.shared), 1, train_config=ConfigRecord())


def test_a_private_run_needs_a_ledger(bench, script, plan):
    strategy = bench.strategy(plan=plan())
    strategy._ledger = None
    with pytest.raises(ValueError, match="needs a ledger"):
        bench.start(strategy, script([1]).grid(), rounds=1)


def test_a_strategy_that_has_not_started_has_no_state(bench):
    with pytest.raises(RuntimeError, match="not started"):
        _ = bench.strategy().state
