"""What this machine says of itself, read of Linux's own files; ``root`` lets a test show others.

Sources: Documentation/ABI/testing/sysfs-class-power and sysfs-class-thermal of the kernel; proc(5).
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from clients.supervisor.eligibility import Power

_MAINS = ("Mains", "USB", "Wireless")
_NMCLI = ("nmcli", "-g", "GENERAL.STATE,GENERAL.METERED", "device", "show")


def power(root: Path = Path("/")) -> Power | None:
    """Return where power comes from; None where there are no supplies to look at, as on most boards."""
    mains: list[bool] = []
    charges: list[float] = []
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        kind = _text(supply / "type")
        if kind in _MAINS:
            mains.append(_text(supply / "online") not in ("", "0"))
        elif kind == "Battery" and _text(supply / "scope") != "Device":  # a mouse's is not ours
            charge, status = _text(supply / "capacity"), _text(supply / "status")
            charges += [int(charge) / 100] if charge.isdigit() else []
            mains += [True] if status in ("Charging", "Full", "Not charging") else []
    if not mains and not charges:
        return None
    return Power(on_mains=any(mains) if mains else not charges, battery=min(charges, default=None))


def temperature(root: Path = Path("/")) -> float | None:
    """Return the degrees Celsius of the hottest thermal zone, None for none."""
    found = [_text(path) for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    return max((int(text) / 1000 for text in found if text.lstrip("-").isdigit()), default=None)


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that can be had without swapping."""
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def free_disk(folder: Path) -> int | None:
    """Return the bytes that are free on a folder's disk."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


class OthersBusy:
    """The share of processor time that others use, between one look and the next."""

    def __init__(self, own: Callable[[], Sequence[int]], root: Path = Path("/")) -> None:
        """``own``: ids of the processes that are this device's training, and do not count."""
        self._own, self._root = own, root
        self._before: tuple[int, int, dict[int, int]] | None = None

    def __call__(self) -> float | None:
        """Return the share since the last look, None at the first."""
        line = _text(self._root / "proc/stat").partition("\n")[0].split()
        if len(line) < 6 or line[0] != "cpu":
            return None
        ticks = [int(field) for field in line[1:9]]
        total, idle = sum(ticks), ticks[3] + ticks[4]
        own = {process: self._ticks(process) for process in self._own()}
        before, self._before = self._before, (total, total - idle, own)
        if before is None or total <= before[0]:
            return None
        mine = sum(now - before[2].get(process, 0) for process, now in own.items())
        return min(1.0, max(0.0, (total - idle - before[1] - max(0, mine)) / (total - before[0])))

    def _ticks(self, process: int) -> int:
        """Return the ticks that a process and its ended children have used."""
        _, _, rest = _text(self._root / f"proc/{process}/stat").rpartition(")")
        fields = rest.split()
        return sum(int(field) for field in fields[11:15]) if len(fields) > 14 else 0


def metered(
    ask: Callable[[Sequence[str]], str | None] | None = None,
) -> bool | None:
    """Return whether NetworkManager takes a connected network for metered; None where it does not run.

    ``ask``: runs a command and returns what it prints, None if it fails.
    """
    shown = (ask or _ask)(_NMCLI)
    if shown is None:
        return None
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    states, answers = lines[0::2], lines[1::2]
    connected = [answer for state, answer in zip(states, answers, strict=False) if state.startswith("100")]
    return any(answer.startswith("yes") for answer in connected)


def _ask(command: Sequence[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=3, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
