"""How much a store may hold, and how much memory reading it takes, however long a history has become."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.local_store import Event, LocalStore
from clients.local_store import events as module

DAY = 86_400.0


@pytest.mark.fault
def test_i89_seven_days_without_a_network_leave_the_latest_events_within_the_quota(path, opened, monkeypatch):
    monkeypatch.setattr(module, "COUNTED_EVERY", 8)
    LocalStore.create(path).close()
    store = opened(LocalStore.open(path, quota=100))
    for number in range(7 * 48):
        store.record(Event("me", f"i{number}", number * DAY / 48))
        assert store.num_events() <= 107
    kept = [event.item for event in store.events("me")]
    assert kept == [f"i{number}" for number in range(7 * 48 - len(kept), 7 * 48)]
    assert store.retain(days=1, rows=1000, now=7 * DAY) == len(kept) - 48
    assert len(store.histories({item: code for code, item in enumerate(kept)}).items) == 48


def test_a_store_that_is_far_above_its_quota_shrinks_a_little_with_each_event(path, opened, monkeypatch):
    monkeypatch.setattr(module, "COUNTED_EVERY", 1)
    monkeypatch.setattr(module, "DROPPED_AT_A_TIME", 5)
    store = opened(LocalStore.create(path))
    for number in range(20):
        store.record(Event("me", f"i{number}", float(number)))
    small = opened(LocalStore.open(path, quota=10))
    sizes = [small.record(Event("me", "new", 100.0)) and small.num_events() for _ in range(4)]
    assert sizes == [16, 12, 10, 10]


LONG = """
import json, resource, sqlite3, sys
from pathlib import Path
from clients.local_store import Event, LocalStore
path, number = Path(sys.argv[1]), int(sys.argv[2])
LocalStore.create(path).close()
raw = sqlite3.connect(path)
raw.execute("PRAGMA cache_size = -2000")
raw.execute(
    "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
    "INSERT INTO events (user, item, time, kind) SELECT 1, 'i' || (i % 1000), i, 'view' FROM n", (number,))
raw.commit()
raw.close()
store = LocalStore.open(path)
codes = {f"i{code}": code for code in range(1000)}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
histories = store.histories(codes)
few = store.histories({"i7": 0})
latest = store.events("me")
store.record(Event("me", "i1", 1e9))
dropped = store.retain(days=1e9, rows=number - 50_000, now=1e9)
log = path.with_name(path.name + "-wal").stat().st_size
print(json.dumps({
    "histories": len(histories.items), "last": int(histories.items[-1]), "few": len(few.items),
    "latest": len(latest), "dropped": dropped, "grown_mib": peak() - before, "log_mib": log >> 20,
}))
"""


def read_long(path: Path, number: int) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", LONG, path, str(number)], cwd=root, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.fault
@pytest.mark.parametrize(
    "number", [100_000, pytest.param(10_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_c44_a_history_of_10_million_events_is_read_in_bounded_memory_its_latest_10000(path, number):
    found = read_long(path, number)
    assert (found["histories"], found["latest"], found["last"]) == (10_000, 10_000, 999)
    assert found["few"] == 100  # of the 100,000 latest, which are as many as are looked at
    assert found["dropped"] == 50_001
    assert found["grown_mib"] < 48
    assert found["log_mib"] <= 32
