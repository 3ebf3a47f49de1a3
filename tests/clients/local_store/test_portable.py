"""The owner's rights: all of it in one document that another device takes over; no byte left of what is forgotten."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.device.home import DeviceHome
from clients.local_store import Event, LocalStore, StoreUnwritableError
from clients.local_store import forgetting as forgetting_module
from clients.local_store import portable as portable_module
from fedrec.errors import DataError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.privacy.accounts.chain import Chain
from tests.clients.local_store.tables import consents, num_replies

CANARY = b"canary-7f3a"
POLICY = "consent = true\n"


@pytest.fixture
def home(tmp_path: Path, opened: Callable[[LocalStore], LocalStore]) -> DeviceHome:
    """A device that has everything, with the canary in all that is its user's."""
    home = DeviceHome(tmp_path / "box")
    home.state.mkdir(parents=True)
    store = opened(LocalStore.create(home.store))
    for number in range(60):
        store.record(Event("me", f"{CANARY.decode()}-{number}", float(number), "rating", 3.0))
    store.set_consent(True, time=5.0)
    store.put_reply("n1", b"reply " + CANARY, store.next_sequence())
    store.note("ledger", "head")
    store.count("trained")
    home.policy.write_text(POLICY)
    (home.state / "private-000000-1.safetensors").write_bytes(b"vector " + CANARY)
    (home.state / "private.json").write_bytes(b"{}")
    home.ledger_counter.write_text('{"lines": 2}')
    chain = Chain(home.ledger)
    with chain.writing():
        chain.append({"kind": "charge", "round": 1})
        chain.append({"kind": "commit", "charge": 0})
    return home


@pytest.fixture
def stored(home: DeviceHome, opened: Callable[[LocalStore], LocalStore]) -> LocalStore:
    return opened(LocalStore.open(home.store))


@pytest.fixture
def fresh(tmp_path: Path, opened: Callable[[LocalStore], LocalStore]) -> LocalStore:
    (tmp_path / "new").mkdir()
    return opened(LocalStore.create(tmp_path / "new" / "store.db"))


def where_the_canary_is(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and CANARY in path.read_bytes())


def test_the_names_of_a_device_s_files_are_those_of_its_home():
    home = DeviceHome(Path("x"))
    names = (portable_module.LEDGER, portable_module.COUNTER, portable_module.POLICY, portable_module.STATE)
    assert names == (home.ledger.name, home.ledger_counter.name, home.policy.name, home.state.name)
    assert home.state.name == forgetting_module.STATE


# --- F72: export --------------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_f72_an_export_holds_everything_as_json(home, stored):
    document = json.loads(json.dumps(stored.export()))
    assert document["users"] == ["me"]
    assert len(document["events"]) == 60
    assert document["events"][7] == {
        "user": "me",
        "item": f"{CANARY.decode()}-7",
        "time": 7.0,
        "kind": "rating",
        "value": 3.0,
    }
    assert document["consents"] == [{"version": 1, "granted": True, "scope": "training", "time": 5.0}]
    assert [line["kind"] for line in document["ledger"]] == ["charge", "commit"]
    assert document["policy"] == POLICY
    assert base64.b64decode(document["files"]["state/private-000000-1.safetensors"]) == b"vector " + CANARY
    assert (document["sequence"], document["notes"]) == (1, {"ledger": "head"})
    assert document["counts"] == [{"phase": "trained", "reason": "", "count": 1}]


@pytest.mark.fault
def test_f72_an_export_taken_over_by_a_fresh_device_is_exported_the_same(home, stored, fresh):
    document = json.loads(json.dumps(stored.export()))
    fresh.import_(document)
    assert fresh.export() == document
    assert fresh.path.with_name("ledger.jsonl").read_bytes() == home.ledger.read_bytes()
    assert fresh.path.with_name("ledger.counter").read_bytes() == home.ledger_counter.read_bytes()
    assert fresh.next_sequence() == 2
    assert fresh.events("me") == stored.events("me")


@pytest.mark.fault
def test_f72_a_damaged_ledger_is_exported_as_it_is(home, stored, fresh):
    home.ledger.write_bytes(home.ledger.read_bytes() + b'{"edited":  1}\n\xff\n')
    document = json.loads(json.dumps(stored.export()))
    assert document["ledger"][2:] == ['{"edited":  1}', "\ufffd"]


def test_an_import_goes_into_a_fresh_device_alone(stored, fresh):
    document = stored.export()
    with pytest.raises(DataError, match="holds events already"):
        stored.import_(document)
    fresh.record(Event("me", "own", 1.0))
    with pytest.raises(DataError, match="a device that was just made"):
        fresh.import_(document)
    assert [event.item for event in fresh.events("me")] == ["own"]


def test_an_import_never_replaces_a_ledger(stored, fresh):
    document = stored.export()
    ledger = fresh.path.with_name("ledger.jsonl")
    with Chain(ledger).writing():
        pass
    ledger.write_text("spent\n")
    with pytest.raises(DataError, match="holds charges already"):
        fresh.import_(document)
    assert ledger.read_text() == "spent\n"


@pytest.mark.abuse
@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"events": [{"user": "me"}]},
        {"events": [{"user": "eve", "item": "a", "time": 1.0, "kind": "view", "value": None}]},
        {"users": []},
        {"files": {"../device.key": "AAAA"}},
        {"files": {"/etc/passwd": "AAAA"}},
        {"files": {"state/../device.key": "AAAA"}},
        {"files": {"state/a/b": "AAAA"}},
        {"files": {"device.toml": "AAAA"}},
        {"files": {"state/x": "not base64!"}},
        {"policy": "consent ="},
        {"ledger": None},
        {"sequence": "many"},
        {"consents": [{"version": 1}]},
    ],
)
def test_a_document_that_is_odd_writes_nothing(stored, fresh, change):
    document = {**stored.export(), **change}
    before = sorted(path.name for path in fresh.path.parent.rglob("*"))
    with pytest.raises(DataError, match="document"):
        fresh.import_(document)
    assert sorted(path.name for path in fresh.path.parent.rglob("*")) == before
    assert fresh.events("me") == []


@pytest.mark.fault
def test_an_import_that_was_cut_short_is_repeated(stored, fresh):
    document = stored.export()
    with (
        installed(FaultPlan(faults=(Fault(where="store.committing", what=What.CRASH),))),
        pytest.raises(InjectedCrashError),
    ):
        fresh.import_(document)
    fresh.import_(document)
    assert fresh.export() == document


# --- F72: forget --------------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_f72_nothing_is_left_of_what_is_forgotten_in_no_file_of_the_device(home, stored):
    home.store.with_name("store.db.corrupt-1").write_bytes(b"old " + CANARY)
    home.store.with_name("store.db.corrupt-1-wal").write_bytes(CANARY)
    assert set(where_the_canary_is(home.path)) > {"private-000000-1.safetensors", "store.db.corrupt-1"}
    ledger = home.ledger.read_bytes()

    assert stored.forget() == 60

    assert where_the_canary_is(home.path) == []
    assert (stored.events("me"), num_replies(stored), stored.consent().granted) == ([], 0, False)
    assert list(home.state.iterdir()) == []
    assert home.ledger.read_bytes() == ledger
    assert consents(stored) == [True, False]
    assert (stored.next_sequence(), stored.record(Event("me", "new", 1.0))) == (2, 61)


@pytest.mark.fault
def test_f72_what_was_deleted_earlier_leaves_no_byte_in_free_pages_or_the_log_either(home, stored):
    stored.retain(days=1, rows=0, now=1e9)
    stored.set_consent(False)
    stored.forget()
    assert where_the_canary_is(home.path) == []


@pytest.mark.fault
def test_f72_with_the_service_at_work_nothing_is_left_either(home, stored, opened):
    api = opened(LocalStore.open(home.store))
    assert len(api.events("me")) == 60
    stored.forget()
    assert where_the_canary_is(home.path) == []
    assert api.events("me") == []


@pytest.mark.fault
@pytest.mark.parametrize("where", ["store.forgetting", "store.compacted"])
def test_f72_killed_while_forgetting_nothing_can_be_read_and_the_next_call_leaves_no_byte(home, stored, where):
    with installed(FaultPlan(faults=(Fault(where=where, what=What.CRASH),))), pytest.raises(InjectedCrashError):
        stored.forget()
    assert (stored.events("me"), num_replies(stored)) == ([], 0)
    stored.forget()
    assert where_the_canary_is(home.path) == []


@pytest.mark.fault
def test_f72_while_somebody_reads_an_old_state_it_is_said_that_bytes_may_be_left(home, stored, opened, monkeypatch):
    reader = opened(LocalStore.open(home.store))
    with stored._database.alone() as connection:
        connection.execute("PRAGMA busy_timeout = 1")
    with reader._database.reading() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises(StoreUnwritableError):
            stored.forget()
        connection.execute("ROLLBACK")
    assert stored.events("me") == []
    stored.forget()
    assert where_the_canary_is(home.path) == []


def test_forgetting_is_counted_so_that_what_was_begun_before_is_not_written_after(stored):
    assert stored.times_forgotten() == 0
    stored.forget()
    stored.forget()
    assert stored.times_forgotten() == 2
