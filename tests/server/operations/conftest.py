"""Run folders with events in them, and a store beside."""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedrec.flower.events import What
from server.door.home import ServerHome, ServerSettings
from server.door.publications import Publications, load_signing_key
from server.door.setup import init
from server.operations.store import OperationsStore

BEGUN = 1_000_000.0

Write = Callable[..., None]


@pytest.fixture
def server(tmp_path: Path) -> ServerHome:
    now = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
    return init(tmp_path / "server", ServerSettings(host="fedrec.example"), now)


@pytest.fixture
def published(server: ServerHome) -> Publications:
    return Publications(server.public, load_signing_key(server.signing_key))


@pytest.fixture
def run_folder(server: ServerHome) -> Path:
    folder = server.runs / "spring"
    folder.mkdir()
    (folder / "config.toml").write_text("")
    return folder


@pytest.fixture
def tell(run_folder: Path) -> Write:
    """Add an event to the run's file; a second apart each."""
    times = iter(range(100_000))

    def add(what: What, round: int = 0, **facts: Any) -> None:
        row = {"time": BEGUN + next(times), "run_id": "ab12", "round": round, "what": what.value, "facts": facts}
        with (run_folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    return add


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OperationsStore]:
    opened = OperationsStore.open(str(tmp_path / "operations.db"))
    yield opened
    opened.close()


@pytest.fixture
def a_good_round(tell: Write) -> Callable[[int], None]:
    def play(number: int) -> None:
        tell(What.ROUND_OPENED, number, asked=2, users=5, contribution="update")
        tell(What.REPLY_TAKEN, number, node="kitchen", seconds=1.5, bytes=1000)
        tell(What.REPLY_TAKEN, number, node="hall", seconds=0.5, bytes=900)
        tell(What.ROUND_AGGREGATED, number, usable=2, users=5)
        tell(What.ROUND_COMMITTED, number, seconds=3.0, epsilon=0.5 * number, bytes_up=1900, bytes_down=4000)

    return play
