"""Loss of power at any moment of a device's days, whatever of the unsynced writes is left: nothing promised is lost."""

import hashlib
import json
import random
import shutil
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.guard.counter import Counter
from clients.inference.recommender import Recommender
from clients.local_store import LocalStore
from clients.local_store.records import INTERACTION
from clients.local_store.store import KEPT_REPLIES
from clients.private_shards import PrivateShards
from fedrec.models.split import PrivateState
from fedrec.privacy.accounts.chain import Chain
from tests.clients.local_store.tables import num_replies
from tests.clients.power_cuts.conftest import Recording
from tests.clients.power_cuts.disk import Kind

pytestmark = pytest.mark.xdist_group("power-cuts")  # one recording for all


def test_the_recording_is_whole_played_to_its_end_it_gives_the_very_files_that_are_there(recording, memory):
    disk = recording.disk()
    for record in recording.records:
        disk.play(record)
    disk.keep(memory / "played")

    assert contents(memory / "played") == contents(recording.root)
    assert len(recording.records) > 500


@pytest.mark.fault
def test_a11_after_a_power_cut_at_100_random_points_nothing_promised_is_lost(recording, memory):
    cut_at_random(recording, range(100), memory)


@pytest.mark.fault
@pytest.mark.slow
def test_a11_after_a_power_cut_at_1000_random_points_nothing_promised_is_lost(recording, memory):
    cut_at_random(recording, range(1000, 2000), memory)


@pytest.mark.fault
def test_f72_once_the_owner_was_told_that_all_is_forgotten_no_power_cut_brings_a_byte_back(recording, memory):
    told = max(number for number, record in enumerate(recording.records) if b"forgotten" in record.first)
    points = [(point, seed) for point in range(told + 1, len(recording.records) + 1) for seed in range(10)]
    assert len(points) >= 20
    check_cuts(recording, points, memory)


def test_where_nothing_is_ever_synced_the_same_checks_find_what_is_lost(recording, memory):
    lying = replace(recording, records=[record for record in recording.records if record.kind is not Kind.SYNC])
    found = failures(lying, drawn_points(lying, range(20)), memory)
    assert len(found) > 10


def cut_at_random(recording: Recording, seeds: Iterable[int], memory: Path) -> None:
    """Cut the power at a point that each seed draws, and check what is left; a failure names its seeds."""
    check_cuts(recording, drawn_points(recording, seeds), memory)


def drawn_points(recording: Recording, seeds: Iterable[int]) -> list[tuple[int, int]]:
    """Return the point of the recording that each seed draws, with the seed, in order."""
    return sorted((random.Random(seed).randint(0, len(recording.records)), seed) for seed in seeds)


def check_cuts(recording: Recording, points: list[tuple[int, int]], memory: Path) -> None:
    found = failures(recording, points, memory)
    assert not found, f"{len(found)} power cuts lost something\n" + "\n".join(found[:5])


def failures(recording: Recording, points: list[tuple[int, int]], memory: Path) -> list[str]:
    """Return what is wrong after power cuts at these points and seeds, one text a cut that lost something."""
    final = [line["hash"] for line in Chain(DeviceHome(recording.root).ledger).lines()]
    disk, played, found = recording.disk(), 0, []
    for point, seed in points:
        for record in recording.records[played:point]:
            disk.play(record)
        played = point
        left = memory / "left"
        disk.cut(random.Random(f"cut {seed}"), left)
        try:
            check(DeviceHome(left), promised(disk.marks), final)
        except Exception:  # all failing seeds are told, not the first alone
            found.append(f"seed {seed}, record {point}: {traceback.format_exc(limit=-3)}")
        shutil.rmtree(left)
    return found


@dataclass
class Promised:
    """What the marks before a cut say that had been promised."""

    lines: int = 0
    events: int = 0
    durable_events: int = 0
    model: int = 1
    consent: int = 1
    granted: bool = True
    forgotten: bool = False
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)


def promised(marks: list[str]) -> Promised:
    """Take in the marks, which ``workload.py`` explains."""
    sum_ = Promised()
    for mark in map(json.loads, marks):
        match mark:
            case {"lines": lines}:
                sum_.lines = lines
            case {"events": events}:
                sum_.events = events
            case {"model": version}:
                sum_.model = version
            case {"sent": nonce, **rest}:
                assert sum_.sent.get(nonce, rest | {"consent": sum_.consent}) == rest | {"consent": sum_.consent}
                sum_.sent[nonce] = rest | {"consent": sum_.consent}
                sum_.durable_events = sum_.events
            case {"consent": granted, "version": version, **rest}:
                sum_.consent, sum_.granted, sum_.forgotten = version, granted, "forgotten" in rest
                sum_.durable_events = sum_.events
    return sum_


def check(home: DeviceHome, before: Promised, final: list[str]) -> None:
    """Fail unless a device that lost power goes on as it should."""
    if before.forgotten:
        check_nothing_is_left(home)
    with LocalStore.open(home.store) as store:
        assert store.quarantined is None
        check_ledger(home, store, before, final)
        check_consent(store, before)
        check_replies(home, store, before)
        if store.times_forgotten():
            assert store.events("me") == []
        else:
            check_events(store, before)
    check_private(home)
    check_recommendations(home, before)


def check_ledger(home: DeviceHome, store: LocalStore, before: Promised, final: list[str]) -> None:
    """The ledger never decreases, is the one that it was, and the budget was not lost for good."""
    chain = Chain(home.ledger)
    hashes = [line["hash"] for line in chain.lines()]
    assert len(hashes) >= before.lines
    assert hashes == final[: len(hashes)]
    assert Counter(home.ledger_counter, store).checked(chain).exhausted == ""
    with chain.writing():  # a torn last line is set aside
        chain.append({"kind": "test"})
    assert len(Chain(home.ledger).lines()) == len(hashes) + 1


def check_consent(store: LocalStore, before: Promised) -> None:
    """What the owner was told holds, or what was being written just then."""
    now = store.consent()
    assert now.version in (before.consent, before.consent + 1)
    if now.version == before.consent:
        assert now.granted == before.granted
    if not now.granted:
        assert num_replies(store) == 0


def check_replies(home: DeviceHome, store: LocalStore, before: Promised) -> None:
    """What was sent is sent again with the same bytes, nothing waits that was not charged, no number is given twice."""
    rounds = {line.get("round") for line in Chain(home.ledger).lines()}
    latest = list(before.sent.items())[-(KEPT_REPLIES - 1) :]
    for nonce, sent in before.sent.items():
        found = store.find_reply(nonce)
        if store.consent().version > sent["consent"]:
            assert found is None  # withdrawn since
        elif (nonce, sent) in latest:
            assert found is not None
        if found is not None:
            assert (hashlib.sha256(found.content).hexdigest(), found.sequence) == (sent["content"], sent["sequence"])
    waiting = [reply for reply in map(store.find_reply, (f"{n:032x}" for n in range(1, 20))) if reply]
    assert {int(reply.nonce, 16) for reply in waiting} <= rounds
    given = [sent["sequence"] for sent in before.sent.values()] + [reply.sequence for reply in waiting]
    assert store.next_sequence() > max(given, default=0)


def check_events(store: LocalStore, before: Promised) -> None:
    """Events are the first that were recorded, in order; those before a durable write are all there."""
    numbers = [event.number for event in store.events("me")]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else before.durable_events == 0
    assert before.durable_events <= store.last_event() <= before.events + 1


def check_nothing_is_left(home: DeviceHome) -> None:
    """No byte of an event is on the disk, not in free pages or in the log, and no private parameter."""
    assert list(home.state.iterdir()) == []
    for path in home.path.glob("store.db*"):
        assert INTERACTION.encode() not in path.read_bytes(), path.name


def check_private(home: DeviceHome) -> None:
    """The private parameters are those of one round or of the next, whole."""

    def fresh(num_users: int) -> PrivateState:
        return PrivateState({"user.embedding": torch.zeros(num_users, 16)})

    shards = PrivateShards(home.state, run_id="run-1", num_users=1, fresh=fresh)
    for value in shards.read(np.array([0])).values():
        assert len(value) == 1
        assert bool(torch.isfinite(value).all())


def check_recommendations(home: DeviceHome, before: Promised) -> None:
    """The device recommends, by a model that is whole and no older than what was put in place."""
    recommender = Recommender(home)
    assert len(recommender.recommend("me", 3)) == 3
    version = versions.current(home.models)
    assert version is not None
    assert version >= before.model
    for name, digest in versions.digests(home.models / str(version)).items():
        assert hashlib.sha256((home.models / str(version) / name).read_bytes()).hexdigest() == digest


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return all files and links below a folder, but what a loss of power makes meaningless."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or (path.is_file() and not path.name.endswith("-shm"))
    }
