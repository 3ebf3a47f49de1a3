"""Running a server: SuperLink, door service and nginx as children that live and end together."""

import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedrec.errors import ConfigError, DataError, FedRecError
from fedrec.runs.atomic import write_atomically
from server.door.enrolments import Enrolments
from server.door.home import ServerHome, ServerSettings
from server.door.nginx import nginx_command, write_configuration
from server.door.publications import Publications, load_signing_key
from server.door.superlink import check_flower, superlink_command, superlink_environment
from server.door.volatility import refuse_memory

START_SECONDS = 120.0
"""Longest wait for a child to answer; a SuperLink on a small machine takes several seconds."""
END_SECONDS = 10.0
ORPHAN_SECONDS = 2.0
RESTARTS = 6
FIRST_DELAY = 1.0
"""Seconds before all is started anew for the first time."""
STEADY_SECONDS = 300.0
OPERATOR = "operator"
"""The one child that the server can do without: devices train and are let in while it is started again."""
OPERATOR_SECONDS = 10.0
"""Between two starts of it at least."""
LOG_BYTES = 50 << 20
"""Of one log, of which there are two."""
_PAUSE = 0.1
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class ServerFailedError(FedRecError):
    """A part of the server did not start, or ended; the others were ended too."""


@dataclass
class Children:
    """Processes that were started, by name, in order."""

    home: ServerHome
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        """Start a process whose output goes to ``logs/<name>.log`` and which does not outlive this one."""
        with (self.home.logs / f"{name}.log").open("ab") as output:
            self.running[name] = subprocess.Popen(
                command,
                env=environment,
                cwd=self.home.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Where this process is killed outright, nothing of the server goes on unwatched. No thread runs yet.
                preexec_fn=_die_with_parent,
            )

    def trim_logs(self, most: int = LOG_BYTES) -> None:
        """Begin logs of more than ``most`` bytes anew and keep one before each: strangers can make them grow."""
        for name in self.running:
            log = self.home.logs / f"{name}.log"
            if log.exists() and log.stat().st_size > most:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)  # whoever writes appends, and so goes on at the new end

    def ended(self) -> str | None:
        """Return the name of a child that has ended and that the server cannot do without, None while all run."""
        return next((name for name in self.running if name != OPERATOR and self.over(name)), None)

    def over(self, name: str) -> bool:
        """Return whether a child does not run: it has ended, or was never started."""
        return name not in self.running or self.running[name].poll() is not None

    def wait_for(self, name: str, answers: Callable[[], bool]) -> None:
        """Wait until ``answers``; ``ServerFailedError`` with the end of the log if the child ends or time is up."""
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            ended = self.ended()
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"did not answer within {START_SECONDS:.0f} s"
                who = ended or name
                raise ServerFailedError(f"{who} {what}; {self.home.logs / who}.log ends: {self._tail(who)}")
            time.sleep(_PAUSE)

    def end(self) -> None:
        """End all in the reverse order, and whatever they have started, which is this process's by inheritance."""
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for process in reversed(self.running.values()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        for sign in (signal.SIGTERM, signal.SIGKILL):
            left = _descendants(os.getpid())
            for process_id in left:
                with suppress(ProcessLookupError):
                    os.kill(process_id, sign)
            deadline = time.monotonic() + ORPHAN_SECONDS
            while _descendants(os.getpid()) and time.monotonic() < deadline:
                self._reap()
                time.sleep(_PAUSE)

    def _reap(self) -> None:
        """Collect what was inherited and has ended; a ``Popen`` collects its own."""
        own = {process.pid for process in self.running.values()}
        for process_id in set(_descendants(os.getpid())) - own:
            with suppress(ChildProcessError):  # not ours, or not yet
                os.waitpid(process_id, os.WNOHANG)

    def _tail(self, name: str) -> str:
        text = (self.home.logs / f"{name}.log").read_text(errors="replace")
        return " | ".join(line.strip() for line in text.strip().splitlines()[-3:])[-600:]


def up(
    home: ServerHome,
    settings: ServerSettings,
    *,
    volatile: bool,
    ready: Callable[[], None],
    broke: Callable[[str], None] = lambda why: None,
) -> None:
    """Run the server until SIGTERM or SIGINT; ``ready`` is called when all answer for the first time.

    A part that ends takes the others with it, and all are started anew, after a delay that doubles: one state, not a
    mixture. ``broke`` is told why. Raises ``ConfigError`` for a database in memory (unless ``volatile`` lets a file
    system in memory pass), an unknown flwr or a port that is taken; ``DataError`` if the server runs already;
    ``ServerFailedError`` if a part does not start, or parts end ``RESTARTS`` times with less than ``STEADY_SECONDS`` of
    peace in between.
    """
    check_flower()
    refuse_memory(home.path / settings.database, settings.database, volatile=volatile)
    Enrolments.open(home.enrolments)
    Publications(home.public, load_signing_key(home.signing_key)).orders()
    with _locked(home), _ended_by_signals() as asked_to_end:
        _check_ports(settings)
        write_configuration(home, settings)
        _adopt_orphans()
        home.session.unlink(missing_ok=True)
        told, failures = ready, 0
        while not asked_to_end():
            began = time.monotonic()
            try:
                _serve(home, settings, told, asked_to_end)
            except ServerFailedError as error:
                lived = time.monotonic() - began
                failures = 1 if lived > STEADY_SECONDS else failures + 1
                if not home.session.exists() or failures > RESTARTS:
                    raise
                told = _unheard
                delay = FIRST_DELAY * 2 ** (failures - 1)
                broke(f"{error}; it is started again in {delay:.0f} s")
                _wait(delay, asked_to_end)


def _serve(
    home: ServerHome, settings: ServerSettings, ready: Callable[[], None], asked_to_end: Callable[[], bool]
) -> None:
    """Run all parts until one ends (``ServerFailedError``) or the server is asked to; none is left when this returns.

    ``home.session`` exists from when all have answered on: a server that never got so far is not tried again.
    """
    children = Children(home)
    try:
        _start(children, home, settings)
        write_atomically(home.session, secrets.token_hex(8).encode(), mode=0o600)
        ready()
        operator = [sys.executable, "-m", "fedrec.cli", "server", "operate", str(home.path)]
        due = time.monotonic()
        while not asked_to_end():
            if (name := children.ended()) is not None:
                raise ServerFailedError(f"{name} has ended; see {home.logs / name}.log")
            if children.over(OPERATOR) and time.monotonic() >= due:
                children.start(OPERATOR, operator, dict(os.environ))
                due = time.monotonic() + OPERATOR_SECONDS
            children.trim_logs()
            time.sleep(5 * _PAUSE)
    finally:
        children.end()


def _wait(seconds: float, asked_to_end: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not asked_to_end():
        time.sleep(_PAUSE)


def _unheard() -> None:
    """Say nothing: it has been said."""


def _start(children: Children, home: ServerHome, settings: ServerSettings) -> None:
    environment = superlink_environment(home)
    children.start("superlink", superlink_command(home, settings), environment)
    door = [sys.executable, "-m", "fedrec.cli", "server", "door", str(home.path)]
    children.start("door", door, dict(os.environ))
    # The door answers once the SuperLink does, and once that knows whom it may let in.
    children.wait_for("door", lambda: _listens("127.0.0.1", settings.door_port))
    if not (home.path / settings.database).is_file():
        raise ServerFailedError(f"the SuperLink made no {home.path / settings.database}: it keeps nothing")
    children.start("nginx", nginx_command(home), dict(os.environ))
    listen = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.listen, settings.listen)
    children.wait_for("nginx", lambda: _listens(listen, settings.port))


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _check_ports(settings: ServerSettings) -> None:
    for name, host in (("port", settings.listen), ("superlink_port", "127.0.0.1"), ("door_port", "127.0.0.1")):
        port = getattr(settings, name)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ConfigError(f"{name} {port} on {host}: {error.strerror}; change it in server.toml") from error


@contextmanager
def _locked(home: ServerHome) -> Iterator[None]:
    descriptor = os.open(home.lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "another process"
            raise DataError(f"{home.path} is run by process {holder}: end that one first") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _ended_by_signals() -> Iterator[Callable[[], bool]]:
    """Yield whether SIGTERM or SIGINT has come."""
    came: list[int] = []
    before = {sign: signal.signal(sign, lambda number, _: came.append(number)) for sign in _ENDING}
    try:
        yield lambda: bool(came)
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


_ENDING = (signal.SIGTERM, signal.SIGINT)


def _adopt_orphans() -> None:
    """Become the parent of what children leave behind: a server app outlives its SuperLink."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _descendants(ancestor: int) -> list[int]:
    """Return ids of all processes below one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = {ancestor}
    grew = True
    while grew:
        below = {child for child, parent in parents.items() if parent in found} - found
        found |= below
        grew = bool(below)
    return sorted(found - {ancestor})
