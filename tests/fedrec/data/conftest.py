"""Logs for tests of the data part, and a machine without data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from fedrec.data.log import InteractionLog

MakeLog = Callable[..., InteractionLog]


def log_of(users: list[int], items: list[int], times: list[float], rows: list[int] | None = None) -> InteractionLog:
    return InteractionLog(
        users=np.array(users, dtype=np.int32),
        items=np.array(items, dtype=np.int32),
        timestamps=np.array(times, dtype=np.float64),
        rows=np.array(range(len(users)) if rows is None else rows, dtype=np.int64),
        user_ids=tuple(f"u{code}" for code in range(max(users, default=-1) + 1)),
        item_ids=tuple(f"i{code}" for code in range(max(items, default=-1) + 1)),
    )


@pytest.fixture(scope="session")
def make_log() -> MakeLog:
    """Return a function of codes and times that builds a log; rows count from 0 unless given."""
    return log_of


@st.composite
def logs(draw: st.DrawFn) -> InteractionLog:
    """Draw small logs full of ties, repeats, users without events and rows out of order."""
    event = st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 4))
    events = draw(st.lists(event, min_size=1, max_size=40))
    users, items, times = (list(column) for column in zip(*events, strict=True))
    rows = draw(st.permutations(range(len(events))))
    return log_of(users, items, [float(time) + 0.5 for time in times], rows)


@pytest.fixture(scope="session")
def any_log() -> st.SearchStrategy[InteractionLog]:
    """Return the Hypothesis strategy of small logs, for ``data.draw``."""
    return logs()


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder with an empty cache and no ``FEDREC_DATA``; return the folder."""
    monkeypatch.delenv("FEDREC_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path
