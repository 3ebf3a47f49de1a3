"""What an owner is told of the privacy budget: the ledger's own sums, or that they cannot be trusted."""

import json

import pytest

from clients.guard.counter import COPY, Counter
from clients.guard.spent import note_refusal
from clients.local_store import LocalStore
from clients.policy import Policy
from clients.service import device_pb2 as pb
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.chain import Chain
from fedrec.privacy.accounts.ledger import Ledger, Release
from fedrec.privacy.guarantee import INTERACTION_LEVEL
from fedrec.privacy.mechanism import Mechanism

BUDGET = Budget(epsilon=8.0, delta=1e-5)
MECHANISM = Mechanism(noise_multiplier=1.5, clip_norm=1.0, sample_rate=0.1, population=200)


def release(round, **fields):
    return Release(
        run_id="run", round=round, name="training", mechanism=MECHANISM, noise_source="another party", **fields
    )


def marked(home):
    """Bring the ledger's counter up to the ledger, as the guard does after each charge."""
    with LocalStore.open(home.store) as store:
        assert not Counter(home.ledger_counter, store).checked(Chain(home.ledger)).exhausted


@pytest.fixture
def ledger(home):
    """A ledger of three charges: one was made, one given up, of one it is not known; and its counter."""
    marked(home)
    ledger = Ledger(home.ledger)
    first, second, _ = (ledger.charge(release(round), BUDGET) for round in (1, 2, 3))
    ledger.commit(first, "d" * 64)
    ledger.abort(second, "cancelled")
    marked(home)
    return ledger


def test_before_any_release_the_budget_is_unused(client):
    found = client.privacy()
    assert found.state == pb.BUDGET_STATE_UNUSED
    assert "ever released" in found.summary


def test_what_is_told_is_what_the_ledger_computed(ledger, client):
    found = client.privacy(releases=2)
    assert found.state == pb.BUDGET_STATE_LEFT
    assert [one.epsilon for one in found.spent] == [pytest.approx(ledger.spent(BUDGET.delta))]
    assert (found.spent[0].unit, found.spent[0].budget, found.spent[0].delta) == ("user", 8.0, 1e-5)
    assert (found.charges, found.committed, found.aborted, found.reserved_lost) == (3, 1, 1, 1)
    assert [(line.round, line.outcome) for line in found.releases] == [(2, "abort"), (3, "")]


def test_a_charge_made_while_the_service_runs_is_told_at_once(ledger, client):
    client.privacy()
    ledger.charge(release(4), BUDGET)
    assert client.privacy().charges == 4


def test_each_guarantee_is_told_by_itself(ledger, client):
    event = release(4, guarantee=INTERACTION_LEVEL)
    ledger.charge(event, BUDGET)
    assert [one.unit for one in client.privacy().spent] == ["user", "interaction"]


def test_the_policy_says_what_is_allowed_now(ledger, home, client):
    spent = ledger.spent(BUDGET.delta)
    home.policy.write_text(f"consent = true\nepsilon = {spent / 2}\n")
    found = client.privacy()
    assert found.state == pb.BUDGET_STATE_SPENT
    assert found.spent[0].budget == pytest.approx(spent / 2)


def deleted(home):
    home.ledger.unlink()


def deleted_with_its_counter(home):
    home.ledger.unlink()
    home.ledger_counter.unlink()


def cut(home):
    home.ledger.write_bytes(b"".join(home.ledger.read_bytes().splitlines(keepends=True)[:2]))


def without_its_counter(home):
    home.ledger_counter.unlink()
    with LocalStore.open(home.store) as store:
        store.note(COPY, "")


def of_another_device(home):
    home.ledger.unlink()
    other = Ledger(home.ledger)
    for round in range(6):
        other.charge(release(round), BUDGET)


def edited(home):
    home.ledger.write_bytes(home.ledger.read_bytes().replace(b'"round":1', b'"round":7'))


def of_a_later_version(home):
    chain = Chain(home.ledger)
    with chain.writing():
        chain.append({"schema": 9, "kind": "charge"})


@pytest.mark.fault
@pytest.mark.parametrize(
    "damage",
    [deleted, deleted_with_its_counter, cut, edited, of_a_later_version, without_its_counter, of_another_device],
)
def test_c43_a_ledger_that_cannot_be_trusted_is_told_as_a_spent_budget_and_lists_go_on(ledger, client, home, damage):
    client.privacy()
    damage(home)
    found = client.privacy(releases=10)
    assert found.state == pb.BUDGET_STATE_LEDGER_BROKEN
    assert "counts as spent" in found.summary
    assert not found.releases
    assert client.recommend(k=1).recommendations


def test_c43_what_the_guard_wrote_off_stays_written_off(ledger, client, home):
    with LocalStore.open(home.store) as store:
        mark = json.loads(store.noted(COPY))
        store.note(COPY, json.dumps({**mark, "exhausted": "the ledger was cut"}))
    found = client.privacy()
    assert found.state == pb.BUDGET_STATE_LEDGER_BROKEN
    assert "the ledger was cut" in found.summary


@pytest.mark.fault
def test_e60_an_exhausted_budget_is_told_in_plain_words_and_lists_go_on(home, client):
    marked(home)
    Ledger(home.ledger).record(release(1, steps=100_000), Budget(epsilon=0.5, delta=1e-5))
    found = client.privacy()
    assert found.state == pb.BUDGET_STATE_SPENT
    assert "training ends" in found.summary
    assert client.recommend(k=1).recommendations


def test_a_budget_that_did_not_hold_the_last_task_is_spent_whatever_figure_is_left(ledger, home, client):
    with LocalStore.open(home.store) as store:
        note_refusal(store, "the user-level budget of epsilon 8 at delta 1e-05 does not hold another round", Policy())
    found = client.privacy()
    assert found.state == pb.BUDGET_STATE_SPENT
    assert found.summary.endswith("does not hold another round.")
