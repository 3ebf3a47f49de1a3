"""What is remembered of users between requests is what the store would say."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.inference.users import KEPT_SECONDS, Met, Users
from clients.local_store import Event, LocalStore
from clients.local_store.records import DISMISSAL, INTERACTION


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("device")


def told(met: Met) -> tuple[tuple[str, ...], tuple[float, ...], frozenset[str]]:
    return met.chosen, met.times, met.dismissed


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["me", "you"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.integers(0, 5),
        st.sampled_from([INTERACTION, INTERACTION, DISMISSAL]),
        st.booleans(),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(steps=STEPS)
def test_a_continued_history_is_the_one_that_is_read_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int, str, bool]]
) -> None:
    with LocalStore.create(tmp_path_factory.mktemp("device") / "store.db", ("me", "you")) as store:
        users = Users(store, Path("none"), personal_steps=0)
        for user, item, time, kind, looked in steps:  # times are in any order: an event may be told late
            store.record(Event(user, item, 1e9 + time, kind))
            if looked:
                fresh = Users(store, Path("none"), personal_steps=0)
                for name in ("me", "you"):
                    assert told(users.met(name)) == told(fresh.met(name))


def test_the_same_object_is_returned_while_nothing_happens(folder: Path) -> None:
    with LocalStore.create(folder / "store.db") as store:
        users = Users(store, folder, personal_steps=0)
        store.record(Event("me", "a", 1.0))
        assert users.met("me") is users.met("me")


def test_what_retention_deleted_is_gone_from_memory_a_minute_later(folder: Path) -> None:
    clock = Clock()
    with LocalStore.create(folder / "store.db") as store:
        users = Users(store, folder, personal_steps=0, clock=clock)
        for item, time in (("old", 1e9), ("new", 1e9 + 86_400 * 10)):
            store.record(Event("me", item, time))
        assert users.met("me").chosen == ("old", "new")
        store.retain(5, 100, 1e9 + 86_400 * 11)
        clock.now += KEPT_SECONDS / 2
        store.record(Event("me", "newest", 1e9 + 86_400 * 11))
        users.met("me")
        clock.now += KEPT_SECONDS / 2
        assert users.met("me").chosen == ("new", "newest")
