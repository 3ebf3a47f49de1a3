"""What a node does with a task, in the order that it promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clients import contributions, node, private_shards
from clients.node import answer, card
from clients.policy import Policy
from clients.store import NodeStore
from fedrec.config import InteractionConfig, LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.errors import MemoryBudgetError
from fedrec.flower.wire import RANKS
from fedrec.models import build_model
from fedrec.models.split import SharedState, structure_digest
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.events import SampledGaussian
from fedrec.privacy.guarantee import INTERACTION_LEVEL
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, Refusal, RefusalReason, TrainReply, carried
from fedrec.statistics.counts import count_items
from fedrec.training.cohort import train_cohort
from fedrec.training.private_start import initial_private
from fedrec.training.randomness import user_seeds


def reopened(store: NodeStore) -> NodeStore:
    """The store as the next process sees it."""
    return NodeStore.open(store.folder)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_card_says_key_users_and_catalogue(store, catalogue):
    assert (card(store).key, card(store).num_users) == ("node-0", 3)
    assert card(store).catalogue_digest == catalogue.digest


def test_the_reply_is_the_engine_s_sum_over_the_participants(store, task, catalogue, histories):
    reply = answer(task, store)
    users = task.participants
    expected = train_cohort(
        build_model(task.model, catalogue, 3),
        task.shared,
        initial_private(build_model(task.model, catalogue, 3), 2),
        histories.take(users),
        user_seeds(["ann", "eve"], 3),
        1,
        task.local,
        task.mechanism,
    )
    assert (reply.nonce, reply.num_users) == (task.nonce, 2)
    for name, tensor in expected.total.items():
        assert torch.equal(reply.total[name], tensor)


def test_participants_keep_their_private_part_and_others_theirs(store, task, catalogue, private_of):
    answer(task, store)
    state = private_of(reopened(store))
    fresh = initial_private(build_model(task.model, catalogue, 3), 3)
    for name, rows in state.items():
        moved = [not torch.equal(row, old) for row, old in zip(rows, fresh[name], strict=True)]
        assert moved == [True, False, True], name


def test_private_state_is_carried_to_the_next_round(store, task, later):
    answer(task, store)
    second = answer(later(2), reopened(store))
    anew = answer(later(2, run_id="run-2", nonce="a" * 32), reopened(store))
    assert not torch.equal(second.total["factors.embedding"], anew.total["factors.embedding"])


def test_a_popularity_task_is_answered_with_clipped_counts_and_trains_nothing(store, later, histories, catalogue):
    task = later(0, contribution=Contribution.POPULARITY)
    reply = answer(task, store)
    expected = count_items(histories.take(task.participants), catalogue.num_items, task.mechanism.clip_norm)
    assert torch.equal(reply.total["counts"], expected)
    assert not (store.folder / "state").exists()


# --- many users -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("contribution", list(Contribution))
def test_a_node_of_several_shards_answers_as_a_node_of_one_and_keeps_the_same(
    make_store, catalogue, later, private_of, monkeypatch, contribution
):
    one, several = make_store(number=0), make_store(number=1)
    model = ModelConfig(dim=4, history_length=6, dropout=0.0, members=("ease", "markov", "ials"))
    shared = carried(contribution, build_model(model, catalogue, seed=0).shared_state())
    task = later(
        1,
        contribution=contribution,
        participants=np.arange(3),
        model=model,
        shared=shared,
        model_digest=structure_digest(shared),
        local=LocalConfig(seed=3, held_back=0.9),
    )
    expected = answer(task, one).total
    monkeypatch.setattr(private_shards, "MOST_USERS", 1)
    monkeypatch.setattr(contributions, "STATISTICS_USERS", 2)
    monkeypatch.setattr(contributions, "FUSION_USERS", 1)
    total = answer(task, several).total
    assert len(list(several.folder.glob("state/*.safetensors"))) == (3 if contribution is Contribution.UPDATE else 0)
    assert {name: value.dtype for name, value in total.items()} == {n: value.dtype for n, value in expected.items()}
    torch.testing.assert_close(total, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(private_of(several), private_of(one), atol=1e-6, rtol=1e-5)


def test_an_evaluation_charges_itself_once_and_the_rounds_before_it_by_their_own_mechanism(store, later, task):
    """A user may have been drawn in rounds that its node was not asked in; the evaluation's noise is not theirs."""
    ranks = Mechanism(clip_norm=1.0, noise_multiplier=9.0, sample_rate=1.0, population=3)
    sampled = replace(task.mechanism, sample_rate=0.5)
    answer(later(2, mechanism=sampled), store)
    reply = answer(later(6, contribution=Contribution.RANKS, mechanism=ranks), store)
    assert isinstance(reply, TrainReply)
    spent = [(charge.name, charge.event) for charge in store.ledger.charges()]
    assert spent == [
        ("training", SampledGaussian(noise_multiplier=1.0, sample_rate=0.5, steps=2)),
        ("training", SampledGaussian(noise_multiplier=1.0, sample_rate=0.5, steps=3)),
        ("ranks", SampledGaussian(noise_multiplier=9.0, sample_rate=1.0, steps=1)),
    ]


def test_a_user_whose_scores_are_no_numbers_takes_no_other_out_of_the_evaluation(store, later, task):
    local = LocalConfig(seed=3, asked=0.999)
    huge = {**task.shared, "item_tower.id_embedding": task.shared["item_tower.id_embedding"].clone()}
    huge["item_tower.id_embedding"][5] = -1e25  # whoever has met item 5, as eve has, gets scores that overflow
    of_all, of_ann = (
        contributions.contribute(
            later(5, contribution=Contribution.RANKS, shared=SharedState(huge), local=local, participants=users), store
        )
        for users in (np.array([0, 1, 2]), np.array([0]))
    )
    assert float(of_ann[RANKS].sum()) == 1.0
    assert torch.equal(of_all[RANKS], of_ann[RANKS])


def test_a_fusion_without_members_is_refused(store, later):
    refusal = answer(later(1, contribution=Contribution.FUSION), store)
    assert refusal.reason is RefusalReason.PROTOCOL
    assert "no members" in refusal.detail


def test_sums_for_items_that_the_model_does_not_solve_for_are_refused(store, task, later, catalogue):
    shared = carried(Contribution.FACTORS, build_model(task.model, catalogue, seed=0).shared_state())
    told = {"shared": shared, "model_digest": structure_digest(shared)}
    refusal = answer(later(1, contribution=Contribution.FACTORS, **told), store)
    assert refusal.reason is RefusalReason.PROTOCOL
    assert "no such member" in refusal.detail


def test_a_model_that_counts_by_time_and_does_not_say_until_when_is_refused_before_it_is_charged(
    store, later, catalogue
):
    model = ModelConfig(dim=4, history_length=6, dropout=0.0, members=("recent-popularity",))
    shared = carried(Contribution.POPULARITY, build_model(model, catalogue, seed=0).shared_state())
    told = {"model": model, "shared": shared, "model_digest": structure_digest(shared)}
    refusal = answer(later(0, contribution=Contribution.POPULARITY, **told), store)
    assert refusal.reason is RefusalReason.PROTOCOL
    assert "set model.recency_end" in refusal.detail
    assert not store.ledger.charges()


def test_what_is_held_back_reaches_no_statistic_and_no_update(make_store, later, histories, catalogue):
    """With all that can be held back gone, a node answers as one that never had it."""
    held = later(0, contribution=Contribution.POPULARITY, local=LocalConfig(seed=3, held_back=1 - 1e-9))
    shorter = Histories.from_lists([histories[0][:-1].tolist(), histories[1].tolist(), histories[2][:-1].tolist()])
    expected = count_items(shorter.take(held.participants), catalogue.num_items, held.mechanism.clip_norm)
    torch.testing.assert_close(answer(held, make_store(number=0)).total["counts"], expected)


def test_a_round_that_fails_midway_leaves_the_private_parameters_as_they_were(store, later, private_of, monkeypatch):
    monkeypatch.setattr(private_shards, "MOST_USERS", 1)
    answer(later(1), store)
    before, trained = private_of(store), []

    def fail_at_the_second(*arguments):
        trained.append(arguments)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train_cohort(*arguments)

    monkeypatch.setattr(contributions, "train_cohort", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        answer(later(2), store)
    torch.testing.assert_close(private_of(reopened(store)), before, rtol=0, atol=0)


@pytest.mark.parametrize("start", ["rebuilt", "ridge"])
def test_private_parameters_that_are_made_anew_each_round_are_not_stored(store, task, later, start):
    local = task.local.model_copy(update={"private_start": start})
    first = answer(later(1, local=local), store)
    assert not (store.folder / "state").exists()
    again = answer(later(1, local=local, nonce="a" * 32), store)
    assert all(torch.equal(again.total[name], first.total[name]) for name in first.total)


# --- memory -----------------------------------------------------------------------------------------------------
def test_the_engine_gets_the_node_s_memory(store, task, monkeypatch):
    given = []
    monkeypatch.setattr(
        contributions, "train_cohort", lambda *arguments: (given.append(arguments[-1]), train_cohort(*arguments))[1]
    )
    store.memory_mib = 3
    answer(task, store)
    assert given == [3]


def test_a_task_that_one_user_does_not_fit_is_refused_before_it_is_charged_or_a_private_file_is_read(
    store, task, monkeypatch
):
    monkeypatch.setattr(node, "_need", lambda *arguments, **bounds: 3 * 2**20 + 1)
    store.memory_mib = 3
    (store.folder / "histories.safetensors").unlink()
    refusal = answer(task, store)
    assert (refusal.reason, refusal.nonce) == (RefusalReason.MEMORY, task.nonce)
    assert "one user needs 4 MiB, memory_mib of this node is 3" in refusal.detail
    assert not store.ledger.charges()


def test_a_whole_history_beyond_the_memory_is_refused_without_telling_its_length(store, task, monkeypatch):
    def overflow(*arguments):
        raise MemoryBudgetError(needed_mib=77, given_mib=3)

    monkeypatch.setattr(contributions, "train_cohort", overflow)
    refusal = answer(task, store)
    assert refusal.reason is RefusalReason.MEMORY
    assert "memory_mib = 3" in refusal.detail
    assert "77" not in refusal.detail


# --- the same task again ------------------------------------------------------------------------------------------
def test_a_task_that_comes_again_gets_the_same_bytes_and_is_neither_trained_nor_charged_again(store, task):
    first = answer(task, store)
    private = files_in(store.folder / "state")
    ledger = (store.folder / "ledger.jsonl").read_bytes()
    again = answer(task, reopened(store))
    assert all(torch.equal(again.total[name], first.total[name]) for name in first.total)
    assert (again.nonce, again.num_users) == (first.nonce, first.num_users)
    assert files_in(store.folder / "state") == private
    assert (store.folder / "ledger.jsonl").read_bytes() == ledger


def test_a_withdrawn_consent_stops_even_a_reply_that_was_written(store, task):
    answer(task, store)
    (store.folder / "policy.toml").write_text(Policy(consent=False).to_toml())
    assert answer(task, reopened(store)).reason is RefusalReason.CONSENT


# --- refusals, before anything private is read --------------------------------------------------------------------
def with_shared(task, **change):
    shared = SharedState({**task.shared, **{name.replace("_", "."): tensor for name, tensor in change.items()}})
    return replace(task, shared=shared, model_digest=structure_digest(shared))


def poisoned(task):
    bias = task.shared["factors.bias"].clone()
    bias[0] = float("nan")
    return with_shared(task, factors_bias=bias)


REFUSED = [
    (lambda task: replace(task, catalogue_digest="d" * 64), RefusalReason.CATALOGUE, "this node has catalogue"),
    (
        lambda task: replace(task, participants=np.array([0, 3])),
        RefusalReason.PARTICIPANTS,
        "3 users, asked was number 3",
    ),
    (lambda task: replace(task, model_digest="d" * 64), RefusalReason.MODEL, "model digest"),
    (lambda task: replace(task, model=task.model.model_copy(update={"dim": 5})), RefusalReason.TENSORS, "tensor"),
    (lambda task: with_shared(task, user_embedding=torch.zeros(3, 4)), RefusalReason.TENSORS, "user.embedding"),
    (lambda task: with_shared(task, factors_bias=torch.zeros(2)), RefusalReason.TENSORS, "factors.bias"),
    (poisoned, RefusalReason.TENSORS, "'factors.bias' of the task is not finite"),
    (lambda task: replace(task, mechanism=None), RefusalReason.NOISE, "allow_unprotected"),
]


@pytest.mark.parametrize(("change", "reason", "said"), REFUSED)
def test_a_task_that_does_not_fit_is_refused_before_a_private_file_is_read(store, task, change, reason, said):
    for name in ("users.json", "histories.safetensors"):
        (store.folder / name).unlink()
    refusal = answer(change(task), store)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.nonce) == (reason, task.nonce)
    assert said in refusal.detail
    assert not (store.folder / "ledger.jsonl").exists()
    assert not (store.folder / "outbox").exists()


def test_a_round_beyond_the_budget_is_refused_before_a_private_file_is_read(make_store, task):
    store = make_store(Policy(consent=True, epsilon=0.5))
    (store.folder / "histories.safetensors").unlink()
    refusal = answer(task, store)
    assert refusal.reason is RefusalReason.BUDGET
    assert "user-level budget of epsilon 0.5" in refusal.detail
    assert store.ledger.charges() == []


def test_rounds_are_counted_over_all_runs(make_store, later):
    store = make_store(Policy(consent=True, epsilon=1000.0, max_rounds=2))
    assert isinstance(answer(later(1), store), TrainReply)
    assert isinstance(answer(later(2, run_id="run-2"), store), TrainReply)
    assert "max_rounds = 2, the ledger has 2" in answer(later(3), store).detail


# --- the device's own ledger --------------------------------------------------------------------------------------
def test_the_charge_is_on_the_disk_before_anything_private_is_read(store, task, monkeypatch):
    def crash(self):
        assert len(NodeStore.open(store.folder).ledger.charges()) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(NodeStore, "histories", crash)
    with pytest.raises(KeyboardInterrupt):
        answer(task, store)


def test_rounds_that_did_not_draw_this_node_are_charged_when_it_is_drawn(store, later):
    """Amplification by sampling is a claim about all rounds in which the users could have been drawn."""
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=2.0, sample_rate=0.5, population=3)
    for number in (2, 3, 7):
        answer(later(number, mechanism=mechanism), store)
    events = [SampledGaussian(noise_multiplier=2.0, sample_rate=0.5, steps=steps) for steps in (2, 1, 4)]
    assert store.ledger.events() == events


def test_without_trust_in_the_sampling_a_round_is_charged_in_full(make_store, later):
    store = make_store(Policy(consent=True, epsilon=100.0, trust_sampling=False))
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=2.0, sample_rate=0.5, population=3)
    answer(later(4, mechanism=mechanism), store)
    assert store.ledger.events() == [SampledGaussian(noise_multiplier=2.0, sample_rate=1.0)]


def test_a_round_told_twice_is_charged_twice(store, task, later):
    answer(task, store)
    answer(later(1, nonce="e" * 32), store)
    assert [charge.event.steps for charge in store.ledger.charges()] == [1, 1]


def test_the_device_s_epsilon_is_that_of_its_ledger(store, later):
    for number in (1, 2, 3):
        answer(later(number), store)
    event = SampledGaussian(noise_multiplier=1.0, sample_rate=1.0, steps=3)
    assert store.ledger.spent(1e-5) == pytest.approx(epsilon_pld([event], 1e-5), rel=1e-3)


def test_an_unprotected_task_touches_no_ledger(make_store, task):
    store = make_store(Policy(consent=True, allow_unprotected=True))
    assert isinstance(answer(replace(task, mechanism=None), store), TrainReply)
    assert not (store.folder / "ledger.jsonl").exists()


# --- the interaction-level layer ----------------------------------------------------------------------------------
INTERACTION = InteractionConfig(noise_multiplier=2.0, chunk_length=2, sample_rate=0.5, epsilon=4.0)


def test_under_the_interaction_layer_opacus_trains_and_the_ledger_keeps_its_account(store, later):
    for number in (1, 2):
        reply = answer(later(number, interaction=INTERACTION), reopened(store))
        assert isinstance(reply, TrainReply)
    event = SampledGaussian(noise_multiplier=2.0, sample_rate=0.5)
    assert store.ledger.events(INTERACTION_LEVEL) == [event, event]
    assert len(store.ledger.events()) == 2


def test_the_interaction_layer_s_account_holds_over_several_shards(store, later, monkeypatch):
    monkeypatch.setattr(private_shards, "MOST_USERS", 1)
    assert isinstance(answer(later(1, interaction=INTERACTION), store), TrainReply)
    assert store.ledger.events(INTERACTION_LEVEL) == [SampledGaussian(noise_multiplier=2.0, sample_rate=0.5)]
    assert len(list(store.folder.glob("state/*.safetensors"))) == 2


def test_the_interaction_budget_is_the_smaller_of_the_scenario_s_and_the_policy_s(make_store, later):
    store = make_store(Policy(consent=True, epsilon=100.0, interaction_epsilon=0.1))
    refusal = answer(later(1, interaction=INTERACTION), store)
    assert refusal.reason is RefusalReason.BUDGET
    assert "interaction-level budget of epsilon 0.1" in refusal.detail
    assert store.ledger.charges() == []


def test_the_interaction_layer_does_not_cover_item_counts(store, later):
    refusal = answer(later(0, contribution=Contribution.POPULARITY, interaction=INTERACTION), store)
    assert "covers updates alone, and the task asks for popularity" in refusal.detail
