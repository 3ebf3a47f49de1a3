"""The trainer's hold on its worker: start it, give it an order, wait a little for the outcome, end it at any moment."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import clients
from clients.device.allocator import ALLOCATOR
from clients.device.home import DeviceHome
from clients.device.settings import TrainingSettings
from clients.supervisor.isolation import PARENT

LONGEST = 16 << 20
"""Bytes of one frame between trainer and worker."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker is to do: answer the task that ``token`` gives access to, or refuse it for a reason by name."""

    token: str
    task: Mapping[str, str]
    """As ``clients.supervisor.flower.pack`` packs it."""
    refusal: str = ""
    detail: str = ""

    def to_bytes(self) -> bytes:
        """Return the frame."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, frame: bytes) -> Self:
        """Read a frame."""
        return cls(**json.loads(frame))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it: ``trained``, ``answered``, ``refused``, ``stopped`` (the owner spoke), ``failed``.

    ``reason``: one word of the program's own.
    """

    kind: str
    reason: str = ""

    @property
    def replied(self) -> bool:
        """Whether the SuperNode has a reply."""
        return self.kind in ("trained", "answered", "refused")

    def to_bytes(self) -> bytes:
        """Return the frame."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, frame: bytes) -> Self:
        """Read a frame."""
        return cls(**json.loads(frame))


class Worker:
    """One worker process."""

    def __init__(self, home: DeviceHome, settings: TrainingSettings) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "clients.supervisor.worker", str(home.path), str(theirs.fileno())]
        self._process = subprocess.Popen(
            command,
            env=environment(home, threads=settings.threads),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._line = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether it runs."""
        return self._process.poll() is None

    def give(self, order: Order) -> None:
        """Hand over an order; ``OSError`` if it is gone."""
        self._line.send_bytes(order.to_bytes())

    def outcome(self, seconds: float) -> Outcome | None:
        """Wait for the outcome; None if it is not there yet, or never will be because the worker is gone."""
        try:
            return Outcome.of(self._line.recv_bytes(LONGEST)) if self._line.poll(seconds) else None
        except (EOFError, OSError):
            self._process.wait()
            return None

    def kill(self) -> None:
        """End it and all that it started, at once, and wait for that."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._line.close()


def environment(home: DeviceHome, *, threads: int = 1) -> dict[str, str]:
    """Return the environment of a device's processes: the installed code alone, few threads, and a quiet Flower."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLWR_"))}
    return {
        **kept,
        PARENT: str(os.getpid()),
        "PYTHONPATH": str(Path(clients.__file__).resolve().parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "FLWR_HOME": str(home.flower),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        **ALLOCATOR,
    }
