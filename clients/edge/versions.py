"""Versions of the program on one machine: beside each other, one current, a new one on trial until it proved itself.

    versions/<name>/     one installed version; ``.complete`` in it is written last
    current              -> versions/<name>, replaced by one rename
    before               -> versions/<name>: where a rollback leads; none after one
    trial.json           {"version", "before", "starts"}: a version that has not proved itself yet, and what it replaced
    lock                 whoever changes something here holds it

Whatever the moment of a loss of power, ``current`` names a complete version: before the rename the old one, after it
the new one, which ``settle`` tests at the next boot and gives up after ``MOST_STARTS`` boots that did not come so far
(the rule of greenboot, which tries three times). Of the state of the program this module knows nothing: the store of
a device carries its own way back by one version (``clients.local_store.schema``).

Needs the standard library alone, as do the modules that it imports: it runs where nothing is installed yet.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fedrec.errors import DataError, FedRecError
from fedrec.faults import reach
from fedrec.runs.atomic import sync_folder, write_atomically

MOST_STARTS = 3
"""Boots that a version on trial gets to prove itself."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")

Test = Callable[[Path], None]
"""Tries the version in a folder; raises ``SelfTestError`` if it must not be used."""


class SelfTestError(FedRecError):
    """A version of the program does not work on this machine; the one before it stays."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A version on trial. ``before``: what it replaced, None on a fresh machine. ``starts``: boots it has had."""

    version: str
    before: str | None
    starts: int = 0


class Versions:
    """The versions below ``root``. One process changes them at a time; a second one waits for nothing and refuses."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def current(self) -> str | None:
        """Return the name of the version that is started, None before the first."""
        return self._named("current")

    @property
    def before(self) -> str | None:
        """Return the name of the version that a rollback leads to, None if there is none."""
        trial = self.trial
        return trial.before if trial and trial.version == self.current else self._named("before")

    @property
    def trial(self) -> Trial | None:
        """Return the version on trial, if one is."""
        try:
            return Trial(**json.loads((self.root / "trial.json").read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.root / 'trial.json'} is damaged: remove it, and run the self-test") from error

    def folder(self, name: str) -> Path:
        """Return the folder of a version, which need not exist."""
        if not _NAME.fullmatch(name):
            raise DataError(f"{name!r} is no name of a version: letters, digits, dot, plus, dash and underscore")
        return self.root / "versions" / name

    def complete(self) -> list[str]:
        """Return the names of all versions that are whole, the oldest first."""
        marks = list((self.root / "versions").glob("*/.complete"))
        return [mark.parent.name for mark in sorted(marks, key=lambda mark: (mark.stat().st_mtime_ns, mark))]

    def install(self, name: str, build: Callable[[Path], None], *, again: bool = False) -> Path:
        """Have ``build`` fill a version's folder and mark it complete; one that is complete stays unless ``again``.

        A folder without the mark is what an interrupted installation left, and is removed first. The current version
        is never built again.
        """
        folder = self.folder(name)
        with self._held():
            if (folder / ".complete").exists() and (not again or name == self.current):
                return folder
            (folder / ".complete").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            reach("versions.building")
            build(folder)
            reach("versions.built")
            os.sync()  # a version is thousands of files: one flush for all of them, then the mark
            write_atomically(folder / ".complete", b"", mode=0o644)
            sync_folder(folder.parent)
        return folder

    def upgrade(self, name: str, *, test: Test, restart: Callable[[], None], live: Callable[[], None]) -> None:
        """Make a complete version current, if it passes ``test`` before the switch and ``live`` after ``restart``.

        Raises ``SelfTestError`` when it did not; then the version before is current again and restarted.
        """
        with self._held():
            new, before = self._whole(name), self.current
            if before == name:
                raise DataError(f"{name} is the current version already")
            test(new)
            self._write(Trial(version=name, before=before))
            reach("versions.on-trial")
            self._switch(name)
            try:
                restart()
                live()
            except FedRecError as error:
                self._give_up(restart)
                back = f"{before} runs again" if before else "there is no version before it"
                raise SelfTestError(f"{name} did not prove itself, {back}: {error}") from error
            self._prove()

    def settle(self, test: Test) -> Literal["nothing", "proved", "rolled-back"]:
        """Finish, at a boot, what an upgrade left unfinished, and say what that was."""
        with self._held():
            trial = self.trial
            if trial is None or trial.version != self.current:
                (self.root / "trial.json").unlink(missing_ok=True)  # the power went before the switch
                return "nothing"
            starts = trial.starts + 1
            self._write(Trial(version=trial.version, before=trial.before, starts=starts))  # before anything can hang
            reach("versions.settling")
            try:
                if starts > MOST_STARTS:
                    raise SelfTestError(f"{trial.version} did not come up in {MOST_STARTS} boots")
                test(self.folder(trial.version))
            except FedRecError:
                if trial.before is None:
                    raise
                self._give_up(lambda: None)
                return "rolled-back"
            self._prove()
            return "proved"

    def roll_back(self, *, restart: Callable[[], None]) -> str:
        """Return to the version before the current one, and return its name; ``DataError`` if there is none."""
        with self._held():
            target = self.before
            if target is None:
                raise DataError(f"{self.root} holds no version to roll back to: install one")
            self._switch(target)
            (self.root / "trial.json").unlink(missing_ok=True)
            (self.root / "before").unlink(missing_ok=True)
            restart()
            return target

    def _whole(self, name: str) -> Path:
        folder = self.folder(name)
        if not (folder / ".complete").exists():
            raise DataError(f"{folder} is not a complete version: install it again")
        return folder

    def _switch(self, name: str) -> None:
        self._whole(name)
        reach("versions.switching")
        self._point("current", name)
        reach("versions.switched")

    def _give_up(self, restart: Callable[[], None]) -> None:
        trial = self.trial
        if trial is None or trial.before is None:
            return
        self._switch(trial.before)
        (self.root / "trial.json").unlink(missing_ok=True)
        reach("versions.given-up")
        restart()

    def _prove(self) -> None:
        trial = self.trial
        if trial is not None and trial.before is not None:
            self._point("before", trial.before)
        (self.root / "trial.json").unlink(missing_ok=True)
        sync_folder(self.root)
        reach("versions.proved")
        for name in set(self.complete()) - {self.current, self.before}:
            (self.folder(name) / ".complete").unlink()
            shutil.rmtree(self.folder(name), ignore_errors=True)

    def _named(self, link: str) -> str | None:
        try:
            return (self.root / link).readlink().name
        except FileNotFoundError:
            return None

    def _point(self, link: str, name: str) -> None:
        """Let a link name a version, by one rename that is flushed to the disk."""
        new = self.root / f".{link}"
        new.unlink(missing_ok=True)
        new.symlink_to(self.folder(name).relative_to(self.root))
        new.replace(self.root / link)
        sync_folder(self.root)

    def _write(self, trial: Trial) -> None:
        write_atomically(self.root / "trial.json", json.dumps(asdict(trial)).encode(), mode=0o644)

    @contextmanager
    def _held(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"another process changes the versions in {self.root}: wait for it") from error
            yield
