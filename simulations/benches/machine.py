"""The machine that a benchmark ran on, and what this process takes of it: figures mean nothing without."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import torch


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What stands beside every figure; nothing of it names the machine or a place on it.

    ``memory_gib``: all that the machine has. ``load``: of the minute before ``date``, ISO 8601, UTC. ``system``:
    operating system and kernel.
    """

    cpu: str
    cores: int
    memory_gib: float
    load: float
    system: str
    python: str
    torch: str
    threads: int
    """PyTorch's, in what was measured."""
    date: str

    @classmethod
    def here(cls, threads: int) -> Self:
        """Describe this machine, now, for a measurement with so many of PyTorch's threads."""
        return cls(
            cpu=_cpu(),
            cores=os.cpu_count() or 1,
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            load=load_now(),
            system=_system(),
            python=platform.python_version(),
            torch=torch.__version__,
            threads=threads,
            date=now(),
        )

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib:g} GiB, load {self.load:g}; Python {self.python}, "
            f"torch {self.torch}, {self.threads} thread{'s' if self.threads > 1 else ''}; {self.date[:10]}"
        )


def now() -> str:
    """Return the time, ISO 8601 to the second, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load_now() -> float:
    """Return how many processes ran or waited for a core over the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def peak_rss_bytes() -> int:
    """Return the most memory that this process has had resident.

    From ``VmHWM``, which begins anew with the program. ``getrusage`` does not: it counts what the parent had when it
    forked.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status does not tell VmHWM: peak memory is measured on Linux only")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give PyTorch ``count`` threads for as long as the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.system()} {'.'.join(platform.release().split('.')[:2])}"
