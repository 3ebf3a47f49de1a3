"""A ledger that is gone, cut, swapped or of an older day counts as a budget that is spent, for good."""

import json
import shutil

import pytest

from clients.guard.counter import COPY, Counter, Mark
from clients.guard.spent import budget_spent
from clients.node import answer
from clients.policy import Policy
from fedrec.errors import LedgerError
from fedrec.privacy.accounts.chain import GENESIS, Chain
from fedrec.rounds import RefusalReason, TrainReply


class Notes(dict):
    """A place of notes in memory."""

    def note(self, name: str, value: str) -> None:
        self[name] = value

    def noted(self, name: str) -> str | None:
        return self.get(name)


@pytest.fixture
def chain(tmp_path) -> Chain:
    return Chain(tmp_path / "ledger.jsonl")


@pytest.fixture
def counter(tmp_path) -> Counter:
    return Counter(tmp_path / "ledger.counter", Notes())


def add(chain: Chain, lines: int = 1) -> None:
    for number in range(lines):
        with chain.writing():
            chain.append({"kind": "x", "number": number})


def test_a_new_device_begins_at_nothing_and_rises_with_its_ledger(chain, counter):
    assert counter.checked(chain) == Mark(lines=0, head=GENESIS)
    add(chain, 3)
    assert counter.advanced(chain) == Mark(lines=3, head=chain.head())
    assert counter.checked(chain) == counter.peek() == Mark(lines=3, head=chain.head())


def test_lines_that_a_crash_left_uncounted_are_taken_in(chain, counter):
    counter.checked(chain)
    add(chain, 2)
    assert counter.checked(chain).lines == 2


def test_a_lost_counter_is_made_again_from_its_copy_and_a_lost_copy_from_the_counter(chain, counter, tmp_path):
    counter.checked(chain)
    add(chain, 2)
    expected = counter.advanced(chain)
    counter.path.unlink()
    assert counter.checked(chain) == expected
    other = Counter(counter.path, Notes())
    assert other.checked(chain) == expected
    assert json.loads(other._copy[COPY])["lines"] == 2


def test_what_the_disk_refuses_just_now_says_nothing_about_what_was_spent(chain, counter, monkeypatch):
    counter.checked(chain)
    add(chain)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr("fedrec.privacy.accounts.chain.os.open", refuse)
        with pytest.raises(LedgerError, match="Permission denied"):
            counter.checked(Chain(chain.path))
    assert not counter.checked(chain).exhausted


# --- what an owner or a file system may do to the files -------------------------------------------------------------
def removed(home, before):
    home.ledger.unlink()


def emptied(home, before):
    home.ledger.write_bytes(b"")


def cut(home, before):
    home.ledger.write_bytes(home.ledger.read_bytes().splitlines(keepends=True)[0])


def swapped(home, before):
    lines = home.ledger.read_bytes().splitlines(keepends=True)
    home.ledger.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


def edited(home, before):
    home.ledger.write_bytes(home.ledger.read_bytes().replace(b'"round":1', b'"round":7', 1))


def from_backup(home, before):
    shutil.copy(before / "ledger.jsonl", home.ledger)


def from_backup_with_its_counter(home, before):
    for path in (home.ledger, home.ledger_counter):
        shutil.copy(before / path.name, path)


def of_another_device(home, before):
    with (before / "other.jsonl").open("w"):
        pass
    add(Chain(before / "other.jsonl"), 9)
    shutil.copy(before / "other.jsonl", home.ledger)


def without_counter_and_copy(home, before):
    home.ledger_counter.unlink()
    home.store.unlink()
    shutil.copy(before / "store.db", home.store)  # made before the first round


HARMS = (
    removed,
    emptied,
    cut,
    swapped,
    edited,
    from_backup,
    from_backup_with_its_counter,
    of_another_device,
    without_counter_and_copy,
)


@pytest.mark.fault
@pytest.mark.parametrize("harm", HARMS, ids=[harm.__name__ for harm in HARMS])
def test_c43_a_harmed_ledger_counts_as_a_budget_that_is_spent_for_good(device, task, later, tmp_path, harm):
    before = tmp_path / "before"
    shutil.copytree(device.home.path, before)
    assert isinstance(answer(task, device.open()), TrainReply)
    if "backup" in harm.__name__:
        for path in (device.home.ledger, device.home.ledger_counter):
            shutil.copy(path, before / path.name)
    second = later(2, participants=task.participants, mechanism=task.mechanism)
    assert isinstance(answer(second, device.open()), TrainReply)
    device.stack.close()
    whole = {path: path.read_bytes() for path in (device.home.ledger, device.home.ledger_counter)}
    harm(device.home, before)
    third = later(3, participants=task.participants, mechanism=task.mechanism)
    store = device.open()
    refusal = answer(third, store)
    assert refusal.reason is RefusalReason.BUDGET
    assert "its whole budget counts as spent, for good" in refusal.detail
    assert "for good" in budget_spent(device.home, store.local)
    device.home.ledger.write_bytes(whole[device.home.ledger])  # put right again: too late
    assert answer(third, device.open()).reason is RefusalReason.BUDGET
    device.home.ledger_counter.write_bytes(whole[device.home.ledger_counter])
    assert answer(third, device.open()).reason is RefusalReason.BUDGET
    assert device.home.ledger.read_bytes() == whole[device.home.ledger]  # nothing was charged


@pytest.mark.fault
def test_c43_a_database_that_was_put_aside_takes_nothing_from_the_budget_and_gives_nothing_back(device, task, later):
    answer(task, device.open())
    device.stack.close()
    device.home.store.write_bytes(b"\xff" * 8192)
    store = device.open()
    assert store.local.quarantined
    store.local.set_consent(True)  # the fresh one has none
    store = device.open()
    second = later(2, run_id="run-2", participants=task.participants[:1], mechanism=task.mechanism)
    assert isinstance(answer(second, store), TrainReply)
    assert [charge.round for charge in store.ledger.charges()] == [1, 2]


# --- the budget's end -----------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_e60_a_budget_that_ends_in_mid_series_is_refused_ever_after_and_the_owner_is_told(make_device, task, later):
    device = make_device(Policy(consent=True, epsilon=3.0))
    replies = []
    for number in range(1, 7):
        store = device.open()
        replies.append(answer(later(number, participants=task.participants, mechanism=task.mechanism), store))
        told = budget_spent(device.home, store.local)
        assert bool(told) is not isinstance(replies[-1], TrainReply)
    kinds = [isinstance(reply, TrainReply) for reply in replies]
    assert kinds == sorted(kinds, reverse=True)
    assert 1 <= sum(kinds) < 6
    assert replies[-1].reason is RefusalReason.BUDGET
    assert "budget of epsilon 3 at delta 1e-05 does not hold another round" in told
    store = device.open()
    assert store.ledger.spent(1e-5, store.ledger.charges()[0].guarantee) <= 3.0


@pytest.mark.fault
def test_e60_an_owner_who_raises_the_budget_is_no_longer_told_that_it_is_spent(make_device, task, later):
    device = make_device(Policy(consent=True, epsilon=0.5))
    store = device.open()
    answer(task, store)
    assert budget_spent(device.home, store.local)
    device.set(Policy(consent=True, epsilon=50.0))
    assert not budget_spent(device.home, store.local)
    assert isinstance(answer(task, device.open()), TrainReply)
    device.set(Policy(consent=True, epsilon=0.5))
    assert not budget_spent(device.home, store.local)
