"""Looks at the machine under fedrec: ports, clock, disk, open files, shared memory, programs. Asks no network.

Each look takes its facts as arguments, so that a test can show it another machine.
"""

import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import fedrec
from fedrec.doctor.finding import Finding, bad, good, note

MIB = 2**20
LEAST_FREE = 200 * MIB
"""Below this a run, its checkpoints and its pages may not fit."""
LITTLE_FREE = 2048 * MIB
LEAST_FILES = 1024
"""Linux' usual soft limit, with which everything here was tried."""
LEAST_SHARED = 1024 * MIB
"""What Ray's object store wants; a container that is not told otherwise has 64 MiB."""
WATCHED = 0.2
"""Seconds for which two clocks are watched."""
MOST_DRIFT = 0.02
"""Seconds by which they may part meanwhile: a hundred times what a slewed clock does (500 ppm, adjtimex(2))."""
LAST_YEAR = 2100


def loopback_free(port: int) -> str:
    """Return why a port of 127.0.0.1 cannot be listened on, the empty text if it can; 0 is any port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def port_findings(ports: Mapping[str, int], trouble_with: Callable[[int], str] = loopback_free) -> Iterator[Finding]:
    """Say whether loopback can be listened on, and the ports that ``fedrec server`` takes where none is named.

    ``ports``: by the option of ``fedrec server init`` that changes one.
    """
    if trouble := trouble_with(0):
        yield bad("loopback", f"127.0.0.1 cannot be listened on: {trouble}", "bring it up: ip link set lo up")
        return
    taken = {option: port for option, port in ports.items() if trouble_with(port)}
    free = [str(port) for option, port in ports.items() if option not in taken]
    yield good("ports", f"loopback answers; free of a server's: {', '.join(free) or 'none'}")
    for option, port in taken.items():
        detail = f"port {port} is taken, by a server that runs here or by something else"
        yield note("ports", detail, f"a further server on this machine needs another: fedrec server init {option} PORT")


def _file_time() -> float:
    """Return when this installation's files were written, in seconds of the epoch."""
    return Path(fedrec.__file__).stat().st_mtime


def clock_findings(
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    installed: Callable[[], float] = _file_time,
    network_time: Callable[[], bool | None] | None = None,
) -> Iterator[Finding]:
    """Say whether the clock can be right: not before fedrec was installed, steady, set by the network.

    Certificates, enrolment codes and signed orders hang on it. ``network_time``: whether it is, None for unknown.
    """
    now = wall()
    remedy = "let the network set it: timedatectl set-ntp true"
    when = datetime.fromtimestamp(now, UTC)
    if now < installed() - 86_400:
        detail = f"it says {when:%Y-%m-%d %H:%M} UTC, and fedrec's files are of {_day(installed())}"
        yield bad("clock", detail, remedy)
        return
    if when.year >= LAST_YEAR:
        yield bad("clock", f"it says the year {when.year}", remedy)
        return
    before = _apart(wall, steady)
    sleep(WATCHED)
    moved = _apart(wall, steady) - before
    if abs(moved) > MOST_DRIFT:
        yield bad("clock", f"it was moved by {moved * 1000:+.0f} ms within {WATCHED} s: something sets it", remedy)
        return
    synchronised = (network_time or _synchronised)()
    if synchronised is False:
        yield note("clock", f"it says {when:%Y-%m-%d %H:%M} UTC, and no network sets it", remedy)
    else:
        by = "the network sets it" if synchronised else "nothing here says whether the network sets it"
        yield good("clock", f"{when:%Y-%m-%d %H:%M} UTC, steady; {by}")


def _apart(wall: Callable[[], float], steady: Callable[[], float]) -> float:
    """Return by how many seconds two clocks differ, of five looks the one that was interrupted least."""
    looks = []
    for _ in range(5):
        begun, now, ended = steady(), wall(), steady()
        looks.append((ended - begun, now - begun))
    return min(looks)[1]


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _synchronised() -> bool | None:
    """Return what timedatectl says of the clock; None where there is none, or no systemd behind it."""
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


def disk_findings(
    folder: Path = Path("runs"), free_at: Callable[[Path], int] = lambda place: shutil.disk_usage(place).free
) -> Iterator[Finding]:
    """Say whether runs can be written into ``folder``, which need not exist, and whether there is room."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place) as file:
            file.write(b"\0")
            file.flush()
        free = free_at(place)
    except OSError as error:
        remedy = "go to a folder that you may write into, or name one by --out"
        yield bad("disk", f"runs cannot be written into {folder.absolute()}: {error.strerror}", remedy)
        return
    detail = f"{folder.absolute()} can be written, {free / MIB:,.0f} MiB are free"
    if free < LEAST_FREE:
        yield bad("disk", detail, "make room, or name another disk by --out")
    elif free < LITTLE_FREE:
        yield note("disk", detail, "enough for a run, not for a sweep or many checkpoints")
    else:
        yield good("disk", detail)


def open_file_findings(limit: int | None = None) -> Iterator[Finding]:
    """Say whether enough files may be open at once; ``limit``: by default this process's."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    if allowed == resource.RLIM_INFINITY or allowed >= LEAST_FILES:
        many = "any number of" if allowed == resource.RLIM_INFINITY else str(allowed)
        yield good("open files", f"{many} at once")
        return
    detail = f"{allowed} at once; Ray and a server with many devices want {LEAST_FILES} or more"
    yield note("open files", detail, "ulimit -n 4096, or LimitNOFILE= of the unit")


def shared_memory_findings(
    place: Path = Path("/dev/shm"),
    free_at: Callable[[Path], int] = lambda place: shutil.disk_usage(place).free,
) -> Iterator[Finding]:
    """Say whether Ray has shared memory to put models into."""
    if not place.is_dir() or not os.access(place, os.W_OK):
        detail = f"{place} is not there to write into: Ray puts models on the disk, slowly"
        yield note("shared memory", detail, "only federation.place=ray wants it: mount a tmpfs there")
        return
    free = free_at(place)
    if free >= LEAST_SHARED:
        yield good("shared memory", f"{place} has {free / MIB:,.0f} MiB for Ray")
    else:
        detail = f"{place} has {free / MIB:,.0f} MiB: Ray puts models on the disk, slowly"
        yield note("shared memory", detail, "only federation.place=ray wants it; in a container: --shm-size=2g")


def program_findings(programs: Mapping[str, tuple[str | None, str, str]]) -> Iterator[Finding]:
    """Say of programs beside fedrec whether they are there; by name: path or None, what it is for, how it is had."""
    for name, (path, purpose, remedy) in programs.items():
        if path:
            yield good(name, f"{path}, for {purpose}")
        else:
            yield note(name, f"not installed; it is for {purpose}", f"if wanted: {remedy}")


def browser() -> str | None:
    """Return where a Chromium is, None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
