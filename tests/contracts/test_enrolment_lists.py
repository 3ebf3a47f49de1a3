"""What every list of devices keeps: keys while they are on it, and numbers that only rise."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.flower.enrolment import DictEnrolment, Enrolment
from fedrec.signing.device_keys import public_pem
from server.door.enrolments import Enrolments

NAMES = ("node-0", "node-1")
PUBLIC = {name: public_pem(ec.generate_private_key(ec.SECP384R1())) for name in NAMES}
Revoke = Callable[[str], object]


def in_memory(folder: Path) -> tuple[Enrolment, Revoke]:
    made = DictEnrolment(PUBLIC, dict.fromkeys(NAMES, "alice"))
    return made, made.revoke


def in_a_database(folder: Path) -> tuple[Enrolment, Revoke]:
    made = Enrolments.create(folder / "enrolments.db")
    code = made.issue("alice", len(NAMES), expires=100.0, now=0.0)
    for name in NAMES:
        made.redeem(code, name, PUBLIC[name], now=1.0)
    return Enrolments.open(folder / "enrolments.db"), lambda name: made.revoke(name, now=2.0)


@pytest.fixture(params=[in_memory, in_a_database], ids=["in memory", "in a database"])
def made(request, tmp_path) -> tuple[Enrolment, Revoke]:
    return request.param(tmp_path)


def test_an_enrolled_device_has_its_key_and_its_owner(made):
    enrolment, _ = made
    assert {name: enrolment.public_key(name) for name in NAMES} == PUBLIC
    assert enrolment.owner("node-0") == "alice"


def test_a_stranger_has_neither_and_no_number_of_its_is_taken(made):
    enrolment, _ = made
    assert enrolment.public_key("node-9") is None
    assert enrolment.owner("node-9") is None
    assert not enrolment.accept("node-9", 1)


def test_a_number_is_taken_once_and_none_below_it_ever_after(made):
    enrolment, _ = made
    taken = [enrolment.accept("node-0", number) for number in (0, 1, 1, 5, 3, 5, 6, 2**53 - 1, 7)]
    assert taken == [False, True, False, True, False, False, True, True, False]


def test_each_device_counts_for_itself(made):
    enrolment, _ = made
    assert enrolment.accept("node-0", 9)
    assert enrolment.accept("node-1", 1)


@pytest.mark.abuse
def test_a_revoked_device_is_a_stranger(made):
    enrolment, revoke = made
    assert enrolment.accept("node-0", 1)
    revoke("node-0")
    assert enrolment.public_key("node-0") is None
    assert enrolment.owner("node-0") is None
    assert not enrolment.accept("node-0", 2)
    assert enrolment.public_key("node-1") == PUBLIC["node-1"]


@pytest.mark.abuse
def test_of_the_same_number_at_once_one_is_taken(made):
    enrolment, _ = made
    taken = []
    threads = [threading.Thread(target=lambda: taken.append(enrolment.accept("node-0", 4))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]
