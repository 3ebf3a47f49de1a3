"""A device's store in a folder of its own, of one user or of two."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients.local_store import Event, LocalStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def opened() -> Iterator[Callable[[LocalStore], LocalStore]]:
    """Return a function that hands a store on and closes it in the end."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def local(path: Path, opened: Callable[[LocalStore], LocalStore]) -> LocalStore:
    return opened(LocalStore.create(path))


@pytest.fixture
def household(tmp_path: Path, opened: Callable[[LocalStore], LocalStore]) -> LocalStore:
    """Ann with three events, recorded out of order, and Bob with one."""
    (tmp_path / "household").mkdir()
    store = opened(LocalStore.create(tmp_path / "household" / "store.db", users=("ann", "bob")))
    for event in (
        Event("ann", "later", 300.0),
        Event("ann", "first", 100.0),
        Event("bob", "other", 50.0),
        Event("ann", "between", 200.0),
    ):
        store.record(event)
    return store
