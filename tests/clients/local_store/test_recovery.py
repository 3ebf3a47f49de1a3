"""A store that is damaged, of another version, or on a disk that is full or read-only: what is left of it works."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from clients.local_store import Event, LocalStore, StoreUnwritableError
from clients.local_store import recovery as module
from clients.local_store.recovery import open_checked
from clients.local_store.schema import STEPS, Step, version_of
from fedrec.errors import DataError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.privacy.accounts.chain import Chain
from tests.clients.local_store.tables import num_replies

NEXT = Step(
    to=2,
    up=("ALTER TABLE events ADD COLUMN place TEXT", "UPDATE events SET place = 'here'"),
    down=("ALTER TABLE events DROP COLUMN place",),
)


@pytest.fixture
def used(local: LocalStore, path: Path) -> Path:
    """A store with events enough for many pages, consent and a ledger beside it, closed."""
    for number in range(400):
        local.record(Event("me", f"item-{number:04d}", float(number)))
    local.set_consent(True)
    for _ in range(5):
        local.next_sequence()
    local.close()
    chain = Chain(path.with_name("ledger.jsonl"))
    with chain.writing():
        chain.append({"charge": 1})
    return path


def damage(path: Path, drawn: random.Random) -> None:
    """Overwrite a page with noise."""
    content = bytearray(path.read_bytes())
    page = drawn.randrange(len(content) // 4096)
    content[page * 4096 : (page + 1) * 4096] = drawn.randbytes(4096)
    path.write_bytes(content)


# --- C42: damaged -------------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_c42_a_store_with_flipped_pages_is_set_aside_for_a_fresh_one_and_the_ledger_is_untouched(used, opened):
    before, ledger = used.read_bytes(), used.with_name("ledger.jsonl").read_bytes()
    for seed in range(15):
        used.write_bytes(before)
        damage(used, random.Random(seed))
        spoilt = used.read_bytes()
        with LocalStore.open(used) as store:
            if store.quarantined is None:  # the page was a free one, or noise in unused space: nothing was lost
                assert len(store.events("me")) == 400, f"seed {seed}"
                continue
            assert store.quarantined.read_bytes() == spoilt, f"seed {seed}"
            assert store.set_aside[-1] == store.quarantined
            assert (store.events("me"), store.consent().granted) == ([], False)
            assert store.user_keys() == ("me",)
            assert store.next_sequence() > 5, f"seed {seed}"
            store.record(Event("me", "new", 1.0))
    assert len(module.set_aside(used)) > 8
    assert used.with_name("ledger.jsonl").read_bytes() == ledger


@pytest.mark.fault
@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"nonsense" * 1000, bytes(8192)])
def test_c42_what_is_no_database_is_set_aside_too(used, content):
    used.write_bytes(content)
    with LocalStore.open(used) as store:
        assert store.quarantined == used.with_name("store.db.corrupt-1")
        assert store.quarantined.read_bytes().startswith(content)  # an empty one has got a header


@pytest.mark.fault
def test_c42_a_truncated_store_is_set_aside(used):
    os.truncate(used, used.stat().st_size // 2)
    with LocalStore.open(used) as store:
        assert store.quarantined is not None


@pytest.mark.fault
def test_c42_the_users_of_the_settings_are_those_of_the_fresh_store(used):
    used.with_name("device.toml").write_text('users = ["ann", "bob"]\n')
    used.write_bytes(b"nonsense")
    with LocalStore.open(used) as store:
        assert store.user_keys() == ("ann", "bob")


@pytest.mark.fault
def test_c42_sequence_numbers_of_a_fresh_store_are_above_all_that_were_given_out(used):
    with LocalStore.open(used) as store:
        last = max(store.next_sequence() for _ in range(3))
    used.write_bytes(b"nonsense")
    with LocalStore.open(used, clock=lambda: 1e9) as store:
        assert store.next_sequence() == 1e12 + 1 > last
    used.write_bytes(b"nonsense again")
    with LocalStore.open(used, clock=lambda: 1e9 + 1) as store:
        assert store.next_sequence() > 1e12 + 1
        assert len(store.set_aside) == 2


@pytest.mark.fault
def test_c42_a_process_that_has_the_damaged_store_open_goes_on_with_the_fresh_one(used, opened):
    api = opened(LocalStore.open(used))
    assert len(api.events("me")) == 400
    used.write_bytes(b"nonsense" * 512)
    opened(LocalStore.open(used))
    assert api.events("me") == []
    api.record(Event("me", "new", 1.0))
    assert [event.item for event in opened(LocalStore.open(used)).events("me")] == ["new"]


@pytest.mark.fault
@pytest.mark.parametrize("place", ["store.quarantining", "store.quarantined", "store.migrating"])
def test_c42_killed_while_setting_aside_the_next_start_does_it(used, place):
    used.with_name("device.toml").write_text('users = ["me"]\n')
    content = used.read_bytes()
    damaged = content[:4096] + bytes(4096) + content[8192:]
    used.write_bytes(damaged)
    with (
        installed(FaultPlan(faults=(Fault(where=place, what=What.CRASH),))),
        pytest.raises(InjectedCrashError),
    ):
        LocalStore.open(used)
    with LocalStore.open(used) as store:
        assert store.quarantined is not None
        assert used.with_name("store.db.corrupt-1").read_bytes() == damaged
        assert (store.user_keys(), store.events("me")) == (("me",), [])
        assert store.next_sequence() > 5


@pytest.mark.fault
def test_c42_a_device_whose_database_was_deleted_gets_a_fresh_one_and_no_log_of_the_old(used):
    used.with_name("device.toml").write_text('users = ["ann"]\n')
    with LocalStore.open(used) as store:
        store.record(Event("me", "in the log", 1e9))
        log = used.with_name("store.db-wal").read_bytes()
    used.unlink()
    used.with_name("store.db-wal").write_bytes(log)
    with LocalStore.open(used) as store:
        assert store.quarantined is None
        assert (store.user_keys(), store.events("ann")) == (("ann",), [])
        assert not store.consent().granted


# --- versions -----------------------------------------------------------------------------------------------------
def test_a_store_goes_up_by_a_version_and_down_again_with_all_that_is_in_it(used):
    newer = (*STEPS, NEXT)
    up = open_checked(used, lambda: 0.0, newer)
    with up.database.writing() as connection:
        assert version_of(connection) == 2
        assert connection.execute("SELECT count(*) FROM events WHERE place = 'here'").fetchone()[0] == 400
        connection.execute("INSERT INTO events (user, item, time, kind, place) VALUES (1, 'x', 1e6, 'view', 'there')")
    up.database.close()
    with LocalStore.open(used) as store:  # this program knows nothing of the step: the database brings the way back
        assert store.quarantined is None
        assert len(store.events("me")) == 401
        assert store.consent().granted


def test_two_versions_at_once_are_refused_and_nothing_is_changed(used):
    further = Step(to=3, up=("CREATE TABLE more (x INTEGER)",), down=("DROP TABLE more",))
    open_checked(used, lambda: 0.0, (*STEPS, NEXT, further)).database.close()
    before = used.read_bytes()
    with pytest.raises(DataError, match="has version 3, this fedrec knows 1"):
        LocalStore.open(used)
    assert used.read_bytes() == before
    assert module.set_aside(used) == ()


@pytest.mark.fault
@pytest.mark.parametrize("down", [False, True])
def test_killed_in_a_migration_a_store_is_at_one_of_the_two_versions(used, down):
    if down:
        open_checked(used, lambda: 0.0, (*STEPS, NEXT)).database.close()
    with (
        installed(FaultPlan(faults=(Fault(where="store.migrating", what=What.CRASH),))),
        pytest.raises(InjectedCrashError),
    ):
        open_checked(used, lambda: 0.0, STEPS if down else (*STEPS, NEXT))
    with LocalStore.open(used) as store:
        assert len(store.events("me")) == 400


# --- C35, C36: no room, or nothing to write on --------------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("what", [What.DISK_FULL, What.READ_ONLY])
def test_c35_what_cannot_be_written_is_said_so_leaves_nothing_half_and_what_is_there_is_read(local, what):
    local.record(Event("me", "a", 1.0))
    local.set_consent(True)
    for where in ("store.writing", "store.committing"):
        with installed(FaultPlan(faults=(Fault(where=where, what=what, every=True),))):
            for write in (
                lambda: local.record(Event("me", "b", 2.0)),
                lambda: local.put_reply("n", b"x", 1),
                local.next_sequence,
                lambda: local.set_consent(False),
                lambda: local.note("x", "y"),
            ):
                with pytest.raises(StoreUnwritableError, match="cannot be written"):
                    write()
            assert [event.item for event in local.events("me")] == ["a"]
            assert local.consent().granted
            assert (num_replies(local), local.noted("x")) == (0, None)
    assert local.record(Event("me", "b", 2.0)) == 2  # there is room again


REAL_DISK = """
import errno, json, os, sys
from pathlib import Path
from clients.local_store import Event, LocalStore, StoreUnwritableError
folder, how = Path(sys.argv[1]), sys.argv[2]
def mount(*options):
    assert os.spawnlp(os.P_WAIT, "mount", "mount", *options, str(folder)) == 0
mount("-t", "tmpfs", "-o", "size=512k", "tmpfs")
path = folder / "store.db"
store = LocalStore.create(path)
store.record(Event("me", "before", 1.0))
if how == "full":
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
else:
    store.close()
    if how == "killed":  # what a process wrote last is in the log, and nobody folded it into the database
        child = os.fork()
        if not child:
            LocalStore.open(path).record(Event("me", "log", 1.5))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    mount("-o", "remount,ro")
found = {}
if how == "full":  # until the log itself needs room, there may be some left in it
    try:
        for number in range(10_000):
            store.record(Event("me", "more" * 60, 0.5))
        found["refused"] = False
    except StoreUnwritableError as error:
        found["refused"] = str(error)
    found["latest"] = store.events("me")[-1].item
    fresh = LocalStore.open(path)
    found["read"] = fresh.events("me")[-1].item
    (folder / "ballast").unlink()
    found["again"] = store.record(Event("me", "after", 2.0)) > 1 and fresh.events("me")[-1].item == "after"
else:
    fresh = LocalStore.open(path)
    found["read"], found["writable"] = fresh.events("me")[-1].item, fresh.writable
    try:
        fresh.record(Event("me", "more", 2.0))
    except StoreUnwritableError as error:
        found["refused"] = str(error)
    mount("-o", "remount,rw")
    found["again"] = fresh.record(Event("me", "after", 2.0)) > 1
print(json.dumps(found))
"""


def on_a_disk_of_its_own(tmp_path: Path, how: str) -> dict[str, object]:
    """Run a device's store on a small file system that is mounted for the process alone."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("mounting a file system needs root and unshare")
    command = ["unshare", "--mount", sys.executable, "-c", REAL_DISK, folder, how]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.fault
def test_c35_on_a_disk_that_is_full_the_store_is_read_and_is_written_again_once_there_is_room(tmp_path):
    found = on_a_disk_of_its_own(tmp_path, "full")
    assert "the disk is full: free some space" in str(found["refused"])
    assert (found["latest"], found["read"], found["again"]) == ("before", "before", True)


@pytest.mark.fault
@pytest.mark.parametrize(("how", "latest"), [("closed", "before"), ("killed", "log")])
def test_c36_on_a_read_only_file_system_the_store_is_read_alone(tmp_path, how, latest):
    found = on_a_disk_of_its_own(tmp_path, how)
    assert (found["read"], found["writable"], found["again"]) == (latest, False, True)
    assert "read-only" in str(found["refused"]).lower()


def test_another_process_that_holds_the_store_for_too_long_is_named_as_the_reason(local, path, monkeypatch):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with local._database.alone() as connection:
        connection.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StoreUnwritableError, match="another process holds it"):
        local.record(Event("me", "a", 1.0))
    other.close()
    assert local.record(Event("me", "a", 1.0)) == 1
