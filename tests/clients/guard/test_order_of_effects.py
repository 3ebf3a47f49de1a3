"""Reserve, flush, noise, outbox, commit: wherever a device's process dies, what left it was charged, and only once."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clients import contributions, node
from clients.guard import device_guard
from clients.guard.envelope import reply_content
from clients.node import answer
from clients.policy import Policy
from fedrec import faults
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What
from fedrec.privacy.accounts.audit import audit_ledger
from fedrec.rounds import Refusal, RefusalReason, TrainReply
from tests.clients.local_store.tables import num_replies

PLACES = (
    "ledger.reserving",
    "ledger.reserved",
    "noise.drawn",
    "outbox.putting",
    "outbox.put",
    "ledger.committed",
    "private.committed",
)


def at(where: str, what: What) -> FaultPlan:
    return FaultPlan(faults=(Fault(where=where, what=what),))


def kinds(store) -> list[str]:
    return [type(entry).__name__ for entry in store.ledger.entries()]


def test_the_order_is_reserve_noise_outbox_commit_and_private_parameters_last(device, task):
    store, order = device.open(), []
    with faults.installed(FaultPlan(faults=())) as reached:
        reply = answer(task, store)
        order = [place for place in reached if place in PLACES]
    assert isinstance(reply, TrainReply), reply
    assert tuple(order) == PLACES
    assert kinds(store) == ["Charge", "Outcome"]


def test_each_moment_finds_on_the_disk_what_was_promised_before_it(device, task, monkeypatch):
    store = device.open()
    seen = {}

    def look(where: str) -> None:
        fresh = device.open()
        waits = fresh.outbox.find(task.nonce) is not None
        seen[where] = (len(fresh.ledger.entries()), waits, (device.home.state / "private.json").exists())

    for module in (node, __import__("clients.charging", fromlist=["x"])):
        monkeypatch.setattr(module, "reach", look)
    answer(task, store)
    assert seen == {
        "ledger.reserving": (0, False, False),
        "ledger.reserved": (1, False, False),
        "noise.drawn": (1, False, False),
        "outbox.putting": (1, False, False),
        "outbox.put": (1, True, False),
        "ledger.committed": (2, True, False),
        "private.committed": (2, True, True),
    }


@pytest.mark.fault
@pytest.mark.parametrize("place", ["outbox.put", "ledger.committed", "private.committed"])
def test_a8_killed_between_noise_and_send_the_same_bytes_are_sent_and_epsilon_is_charged_once(device, task, place):
    device.killed_at(place, lambda store: answer(task, store))
    written = device.open().local.find_reply(task.nonce).content
    store = device.open()
    reply = answer(task, store)
    assert isinstance(reply, TrainReply)
    assert reply_content(reply) == written
    assert kinds(store) == ["Charge", "Outcome"]  # committed, if only now
    assert audit_ledger(device.home.ledger).holds


@pytest.mark.fault
@pytest.mark.parametrize("place", ["noise.drawn", "outbox.putting"])
def test_a8_killed_after_the_noise_and_before_the_outbox_nothing_was_seen_and_new_noise_is_charged_anew(
    device, task, place
):
    device.killed_at(place, lambda store: answer(task, store))
    store = device.open()
    assert store.outbox.find(task.nonce) is None
    assert isinstance(answer(task, store), TrainReply)
    assert kinds(store) == ["Charge", "Charge", "Outcome"]
    assert audit_ledger(device.home.ledger).holds


@pytest.mark.fault
def test_a9_killed_between_reserve_and_noise_the_budget_stays_charged_and_the_charge_has_no_outcome(
    device, task, later
):
    device.killed_at("ledger.reserved", lambda store: answer(task, store))
    store = device.open()
    spent = store.ledger.spent(1e-5, store.ledger.charges()[0].guarantee)
    assert spent > 0
    assert store.ledger.unsettled(task.run_id, "training", 1) is not None  # told as reserved-lost
    answer(later(2, participants=task.participants, mechanism=task.mechanism), store)
    assert store.ledger.unsettled(task.run_id, "training", 1) is not None  # for ever
    assert store.ledger.spent(1e-5, store.ledger.charges()[0].guarantee) > spent


@pytest.mark.fault
def test_a9_killed_before_the_charge_the_day_counts_the_task_and_the_ledger_does_not(device, task):
    device.killed_at("ledger.reserving", lambda store: answer(task, store))
    store = device.open()
    assert store.ledger.charges() == []
    assert store.guard.bytes_today() > 0


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(4))
def test_a8_whatever_breaks_and_where_a_nonce_has_one_content_that_was_charged(device, task, later, seed):
    plan = FaultPlan.drawn(seed, PLACES, (What.CRASH, What.DISK_FULL, What.READ_ONLY), most=4, within=4)
    sent: dict[str, str] = {}
    rounds = [later(n, participants=task.participants, mechanism=task.mechanism) for n in (1, 2, 3)]
    with faults.installed(plan):
        for number in (0, 0, 1, 1, 2, 0, 2, 1, 2):
            try:
                reply = answer(rounds[number], device.open())
            except (InjectedCrashError, OSError):
                continue
            if isinstance(reply, TrainReply):
                content = hashlib.sha256(reply_content(reply)).hexdigest()
                assert sent.setdefault(reply.nonce, content) == content, f"seed {seed}: {plan}"
    store = device.open()
    charged = {charge.round for charge in store.ledger.charges()}
    assert {int(nonce, 16) for nonce in sent} <= charged, f"seed {seed}: {plan}"
    assert store.guard.objection(store.policy) is None, f"seed {seed}: {plan}"
    if charged:
        assert audit_ledger(device.home.ledger).holds, f"seed {seed}: {plan}"


@pytest.mark.fault
def test_a8_a_task_that_comes_again_is_not_held_to_separation_or_to_the_tasks_of_a_day(make_device, task):
    device = make_device(Policy(consent=True, epsilon=100.0, max_tasks_per_day=1, min_separation_seconds=600.0))
    first = answer(task, device.open())
    assert reply_content(answer(task, device.open())) == reply_content(first)


@pytest.mark.fault
def test_b18_a_replayed_task_gets_the_same_bytes_and_one_whose_reply_is_gone_is_charged_like_any_other(
    device, task, later
):
    first = answer(task, device.open())
    for number in range(2, 6):  # the outbox forgets the first
        answer(later(number, participants=task.participants, mechanism=task.mechanism), device.open())
    again = answer(later(5, participants=task.participants, mechanism=task.mechanism), device.open())
    assert isinstance(again, TrainReply)
    assert len(device.open().ledger.charges()) == 5
    replayed = answer(task, device.open())
    assert isinstance(replayed, TrainReply)
    assert len(device.open().ledger.charges()) == 6
    assert not torch.equal(replayed.total["factors.bias"], first.total["factors.bias"])


# --- consent ------------------------------------------------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("moment", ["contribute", "seal"])
def test_f73_consent_withdrawn_during_training_or_after_the_noise_nothing_is_written_and_the_charge_stays(
    device, task, monkeypatch, moment
):
    store, work = device.open(), contributions.contribute

    def withdraw() -> None:
        device.open().local.set_consent(False)

    def contribute(*arguments):
        result = work(*arguments)
        withdraw()
        return result

    def seal(task, reply):
        withdraw()
        return reply

    if moment == "contribute":
        monkeypatch.setattr(node, "contribute", contribute)
    refusal = answer(task, store, seal if moment == "seal" else node.unsealed)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.CONSENT
    assert num_replies(store.local) == 0
    assert not (device.home.state / "private.json").exists()
    charge, outcome = store.ledger.entries()
    assert (outcome.kind, outcome.reason, outcome.charge) == ("abort", "consent", charge.entry)


@pytest.mark.fault
def test_f73_consent_withdrawn_before_the_send_purges_the_outbox_and_the_task_is_refused(device, task):
    answer(task, device.open())
    device.open().local.set_consent(False)
    store = device.open()
    assert store.outbox.find(task.nonce) is None
    assert answer(task, store).reason is RefusalReason.CONSENT


@pytest.mark.fault
def test_f73_a_policy_that_says_no_while_the_device_trains_stops_the_reply(device, task, monkeypatch):
    work = contributions.contribute

    def contribute(*arguments):
        result = work(*arguments)
        device.set(Policy(consent=False))
        return result

    monkeypatch.setattr(node, "contribute", contribute)
    assert answer(task, device.open()).reason is RefusalReason.CONSENT
    assert num_replies(device.open().local) == 0


@pytest.mark.fault
def test_f71_a_round_that_failed_at_the_server_was_released_all_the_same_and_its_repeat_costs_again(device, task):
    answer(task, device.open())
    answer(replace(task, nonce="a" * 32), device.open())
    store = device.open()
    charges = store.ledger.charges()
    assert [charge.round for charge in charges] == [1, 1]
    assert charges[1].epsilon > charges[0].epsilon
    assert audit_ledger(device.home.ledger).holds


# --- room on the disk ---------------------------------------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("what", [What.DISK_FULL, What.READ_ONLY])
@pytest.mark.parametrize("place", ["ledger.reserving", "ledger.reserved"])
def test_c35_without_room_for_the_ledger_no_private_row_is_read(device, task, place, what, monkeypatch):
    store = device.open()
    monkeypatch.setattr(type(store), "histories", lambda self: pytest.fail("a private row was read"))
    with faults.installed(at(place, what)):
        refusal = answer(task, store)
    assert refusal.reason is RefusalReason.SPACE
    assert "no training without room for the ledger" in refusal.detail


@pytest.mark.fault
def test_c35_a_nearly_full_disk_begins_no_round(device, task):
    device.free = 1 << 20
    store = device.open()
    assert answer(task, store).reason is RefusalReason.SPACE
    assert store.ledger.charges() == []


@pytest.mark.fault
def test_c35_a_full_disk_at_the_outbox_sends_nothing_and_the_charge_stays(device, task):
    store = device.open()
    with faults.installed(at("outbox.putting", What.DISK_FULL)):
        refusal = answer(task, store)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.SPACE
    _, outcome = store.ledger.entries()
    assert (outcome.kind, outcome.reason) == ("abort", "no-space")
    assert isinstance(answer(task, device.open()), TrainReply)  # once there is room


@pytest.mark.fault
def test_c35_a_full_disk_at_the_private_parameters_takes_nothing_from_the_reply_and_the_old_ones_stay(
    device, task, private_of
):
    store = device.open()
    before = private_of(store)
    with faults.installed(at("private.committing", What.DISK_FULL)):
        assert isinstance(answer(task, store), TrainReply)
    torch.testing.assert_close(private_of(device.open()), before, rtol=0, atol=0)
    assert kinds(store) == ["Charge", "Outcome"]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own that can be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.fault
def test_c35_on_a_disk_that_is_really_full_nothing_is_trained_and_once_there_is_room_it_goes_on(
    make_device, task, small_disk, monkeypatch
):
    device = make_device()
    answer(replace(task, nonce="a" * 32), device.open())
    device.stack.close()
    shutil.copytree(device.home.path, small_disk / "device", symlinks=True)
    device.home = type(device.home)(small_disk / "device")
    before = device.home.ledger.read_bytes()
    store = device.open()  # as the local service has its database open
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            pass
    for least in (device_guard.LEAST_FREE, 0):
        with monkeypatch.context() as context:
            context.setattr(device_guard, "LEAST_FREE", least)
            context.setattr(store.guard, "_free", lambda: shutil.disk_usage(small_disk).free)
            refusal = answer(task, store)
        assert isinstance(refusal, Refusal)
        assert refusal.reason is RefusalReason.SPACE
    assert device.home.ledger.read_bytes() == before
    filler.unlink()
    assert isinstance(answer(task, device.open()), TrainReply)
    assert audit_ledger(device.home.ledger).holds
