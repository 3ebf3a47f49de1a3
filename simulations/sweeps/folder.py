"""A search is a folder: what it was told, its journal, its ledger where it has one, and what it found."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedrec.errors import ConfigError
from fedrec.runs.atomic import write_atomically


class SweepFolder:
    """Names and makes the files of one search. One writer, held off by a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = path / "sweep.json"
        self.journal = path / "journal.jsonl"
        self.ledger = path / "ledger.jsonl"
        self.catalogue = path / "catalogue"
        self.scratch = path / "scratch"
        self.trials = path / "trials.json"
        self.best = path / "best.toml"
        self.picture = path / "search.png"

    @contextmanager
    def opened(self, told: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
        """Make the folder, or with ``resume`` go on in it, and hold its lock.

        Raises ``ConfigError`` for a folder that is not empty, for one that was told something else, and where another
        process is at work.
        """
        if resume:
            self._check_told(told)
        else:
            self._make(told)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another process is searching in {self.path}: wait for it, or name another"
                ) from error
            Path(f"{self.journal}.lock").unlink(missing_ok=True)  # of a journal's writer that was killed
            shutil.rmtree(self.scratch, ignore_errors=True)
            yield

    def _make(self, told: Mapping[str, Any]) -> None:
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ConfigError(
                f"{self.path} exists and is not empty: name another folder with --out, remove it, or go on in it with "
                "--resume"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.told, (json.dumps(told, indent=2) + "\n").encode())

    def _check_told(self, told: Mapping[str, Any]) -> None:
        try:
            before = json.loads(self.told.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConfigError(f"{self.path} holds no search to resume: leave --resume out to begin one") from error
        except ValueError as error:
            raise ConfigError(f"{self.told} is damaged: restore it, or begin another search") from error
        now = json.loads(json.dumps(told))
        different = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        if different:
            raise ConfigError(
                f"{self.path} was told another {' and '.join(different)}: resume with what it was begun with, or begin "
                "another search"
            )
