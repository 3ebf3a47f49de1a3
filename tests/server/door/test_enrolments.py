"""The enrolment list: codes, quotas, names and keys, sequence numbers, and leaving."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedrec.errors import DataError, EnrolmentError
from server.door.enrolments import Enrolments, KeyTakenError, code_hash

HOUR = 3600.0


@pytest.fixture
def enrolments(tmp_path):
    return Enrolments.create(tmp_path / "enrolments.db")


def joined(enrolments, key, public_key, owner="ada"):
    return enrolments.redeem(enrolments.issue(owner, 1, HOUR, 0.0), key, public_key, 1.0)


def test_a_device_joins_by_a_code_and_is_found_by_its_name(enrolments, new_public_key):
    public_key = new_public_key()
    device = joined(enrolments, "kitchen", public_key)
    assert (device.key, device.owner) == ("kitchen", "ada")
    assert enrolments.public_key("kitchen") == public_key
    assert enrolments.owner("kitchen") == "ada"
    assert enrolments.is_enrolled(public_key)


def test_an_unknown_device_has_no_key_and_no_owner(enrolments):
    assert enrolments.public_key("nobody") is None
    assert enrolments.owner("nobody") is None
    assert not enrolments.accept("nobody", 1)


@pytest.mark.abuse
def test_codes_that_are_unknown_expired_or_used_up_let_nobody_in(enrolments, new_public_key):
    used = enrolments.issue("ada", 1, HOUR, 0.0)
    enrolments.redeem(used, "first", new_public_key(), 1.0)
    expired = enrolments.issue("ada", 1, HOUR, 0.0)
    for code, now, word in ((used, 1.0, "used up"), (expired, HOUR, "expired"), ("0" * 26, 1.0, "unknown")):
        with pytest.raises(EnrolmentError, match=word):
            enrolments.redeem(code, "second", new_public_key(), now)
    assert [device.key for device in enrolments.devices()] == ["first"]


def test_a_code_is_read_in_any_case_and_grouping(enrolments, new_public_key):
    code = enrolments.issue("ada", 1, HOUR, 0.0)
    typed = f" {code[:13].upper()}-{code[13:]} "
    assert enrolments.redeem(typed, "kitchen", new_public_key(), 1.0).owner == "ada"


def test_the_file_holds_no_code_in_clear(enrolments, tmp_path):
    code = enrolments.issue("ada", 3, HOUR, 0.0)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert code.encode() not in stored
    assert code_hash(code).encode() in stored


def test_asking_again_after_a_lost_answer_takes_no_second_place(enrolments, new_public_key):
    code, public_key = enrolments.issue("ada", 1, HOUR, 0.0), new_public_key()
    first = enrolments.redeem(code, "kitchen", public_key, 1.0)
    assert enrolments.redeem(code, "kitchen", public_key, 2.0) == first


@pytest.mark.abuse
def test_a_taken_name_and_a_key_under_another_name_are_refused_and_the_place_stays_free(enrolments, new_public_key):
    code, public_key = enrolments.issue("ada", 2, HOUR, 0.0), new_public_key()
    enrolments.redeem(code, "kitchen", public_key, 1.0)
    with pytest.raises(KeyTakenError, match="taken"):
        enrolments.redeem(code, "kitchen", new_public_key(), 1.0)
    with pytest.raises(KeyTakenError, match="another name"):
        enrolments.redeem(code, "cellar", public_key, 1.0)
    assert enrolments.open_places(1.0) == 1


@pytest.mark.abuse
def test_an_owner_cannot_have_more_devices_and_places_than_the_quota(enrolments, new_public_key):
    enrolments.issue("ada", 2, HOUR, 0.0, quota=3)
    with pytest.raises(EnrolmentError, match="4 devices and open places"):
        enrolments.issue("ada", 2, HOUR, 0.0, quota=3)
    enrolments.issue("bob", 3, HOUR, 0.0, quota=3)
    enrolments.issue("ada", 3, 3 * HOUR, 2 * HOUR, quota=3)  # the first code has expired


@pytest.mark.abuse
def test_a_quota_that_was_lowered_holds_for_codes_issued_before(enrolments, new_public_key):
    code = enrolments.issue("ada", 2, HOUR, 0.0)
    enrolments.redeem(code, "kitchen", new_public_key(), 1.0, quota=1)
    with pytest.raises(EnrolmentError, match="which is the most"):
        enrolments.redeem(code, "cellar", new_public_key(), 1.0, quota=1)


@pytest.mark.abuse
@pytest.mark.parametrize("key", ["", "a b", "../x", "-x", "x" * 65, "ключ", "a\n"])
def test_odd_names_are_refused(enrolments, key, new_public_key):
    with pytest.raises(EnrolmentError, match="name"):
        enrolments.redeem(enrolments.issue("ada", 1, HOUR, 0.0), key, new_public_key(), 1.0)


@pytest.mark.abuse
@pytest.mark.parametrize("kind", ["not PEM", "another curve"])
def test_only_keys_on_secp384r1_are_taken(enrolments, kind):
    from cryptography.hazmat.primitives.asymmetric import ec

    from fedrec.signing.device_keys import public_pem

    public_key = "nonsense" if kind == "not PEM" else public_pem(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(EnrolmentError, match="public key is not"):
        enrolments.redeem(enrolments.issue("ada", 1, HOUR, 0.0), "kitchen", public_key, 1.0)


def test_sequence_numbers_are_accepted_in_rising_order_only_also_after_reopening(enrolments, new_public_key, tmp_path):
    joined(enrolments, "kitchen", new_public_key())
    assert [enrolments.accept("kitchen", number) for number in (3, 3, 2, 4)] == [True, False, False, True]
    assert not Enrolments.open(tmp_path / "enrolments.db").accept("kitchen", 4)


@pytest.mark.abuse
@pytest.mark.parametrize("sequence", [0, -1, 1 << 63, 10**30])
def test_a_number_that_no_counter_reaches_is_refused_and_changes_nothing(enrolments, new_public_key, sequence):
    joined(enrolments, "kitchen", new_public_key())
    assert not enrolments.accept("kitchen", sequence)
    assert enrolments.accept("kitchen", 1)


def test_of_many_that_bring_one_sequence_number_at_once_one_is_accepted(enrolments, new_public_key):
    joined(enrolments, "kitchen", new_public_key())
    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(lambda number: enrolments.accept("kitchen", number), [7] * 16))
    assert accepted.count(True) == 1


@pytest.mark.parametrize("way", ["revoke", "withdraw"])
def test_who_has_left_is_unknown_and_stays_so(enrolments, way, new_public_key):
    public_key = new_public_key()
    joined(enrolments, "kitchen", public_key)
    getattr(enrolments, way)("kitchen", 2.0)
    assert enrolments.public_key("kitchen") is None
    assert not enrolments.accept("kitchen", 9)
    assert not enrolments.is_enrolled(public_key)
    for key in ("kitchen", "cellar"):
        with pytest.raises(KeyTakenError):
            joined(enrolments, key, public_key)


def test_a_tombstone_keeps_no_owner(enrolments, new_public_key):
    joined(enrolments, "kitchen", new_public_key())
    enrolments.withdraw("kitchen", 2.0)
    device = enrolments.device("kitchen")
    assert (device.left, device.owner) == ("withdrawn", "")


def test_revoking_somebody_unknown_says_so(enrolments):
    with pytest.raises(EnrolmentError, match="no device is called"):
        enrolments.revoke("nobody", 1.0)


def test_a_list_of_another_schema_or_a_damaged_one_is_not_opened(tmp_path):
    path = tmp_path / "enrolments.db"
    with pytest.raises(DataError, match="does not exist"):
        Enrolments.open(path)
    Enrolments.create(path)
    with pytest.raises(DataError, match="exists"):
        Enrolments.create(path)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match="schema 99"):
        Enrolments.open(path)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="restore"):
        Enrolments.open(path)


def test_the_file_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "enrolments.db"
    Enrolments.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
