"""A real deployment on this machine: one server behind nginx, devices of three processes each, TLS on every connection.

Everything is started by the commands that an administrator and a device's owner type, in processes of their own, in
one folder. What it knows of the running system it reads as they would: from the commands' output, the logs and the
device's local service.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.service.client import DeviceClient, ServiceError
from fedrec.errors import FedRecError
from server.door.home import ServerSettings

HOST = "127.0.0.1"
PAUSE = 0.2
END_SECONDS = 25.0


class DeploymentError(FedRecError):
    """A part of the deployment failed, or did not come in time; its log says why."""


@dataclass
class Deployment:
    """Processes in ``folder``, which must be short: sockets lie below it. Ended in the reverse order of their start."""

    folder: Path
    usual_ports: bool = False
    """Whether a new server takes the ports that 'fedrec server init' takes, where they are free; else any free ones."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def server(self) -> Path:
        """The server's folder."""
        return self.folder / "server"

    @property
    def port(self) -> int:
        """Port of the front door of the server that was made."""
        return ServerSettings.load(self.server / "server.toml").port

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that were made in the folder, whoever made them."""
        return tuple(sorted(path.parent.name for path in self.folder.glob("*/device.toml")))

    @property
    def authority(self) -> Path:
        """Certificate of the server's authority, as devices get it."""
        return self.server / "ca" / "ca.crt"

    def home(self, name: str) -> DeviceHome:
        """Return a device's folder."""
        return DeviceHome(self.folder / name)

    def log(self, name: str) -> str:
        """Return what a process has said so far."""
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def init_server(self) -> None:
        """Make the server's folder: authority, certificates, keys."""
        front, superlink, door = (_usual_ports() if self.usual_ports else None) or free_ports(3)
        ports = ("--port", str(front), "--superlink-port", str(superlink), "--door-port", str(door))
        self.fedrec("server", "init", self.server, "--host", HOST, "--listen", HOST, *ports)

    @contextlib.contextmanager
    def starting_server(self) -> Iterator[None]:
        """Start SuperLink, door and nginx; once the block is done, wait until all of them answer."""
        before = len(self.log("server"))
        process = self.start("server", "server", "up", self.server)
        yield
        self.wait("the server", lambda: "serving https://" in self.log("server")[before:], 120, process)

    def enrolment_code(self, count: int) -> str:
        """Return a code by which ``count`` devices may join."""
        told = self.fedrec("server", "enroll", self.server, "--owner", "demo", "--count", str(count), "--json")
        return str(json.loads(told)["code"])

    def init_devices(
        self, names: Sequence[str], code: str, policy: Path, *, port: int = 0, users: Sequence[str] = ()
    ) -> None:
        """Make devices and enrol them, all at a time.

        ``port``: of a proxy in front of the front door. ``users``: keys of the people whose events each holds.
        """
        started = []
        for name in names:
            command = ["device", "init", str(self.folder / name), "--server", f"{HOST}:{port or self.port}"]
            command += ["--authority", str(self.authority), "--signer", str(self.server / "signer.pub"), "--key", name]
            command += ["--policy", str(policy), "--code-file", "-", "--consent", "--whenever"]
            command += [part for user in users for part in ("--user", user)]
            started.append((name, self._popen(f"{name}-init", command, stdin=subprocess.PIPE)))
        for name, process in started:
            process.communicate(f"{code}\n".encode(), timeout=180)
            if process.returncode != 0:
                raise DeploymentError(f"{name} could not be made: {self.log(f'{name}-init').strip()}")
            _without_patience(self.home(name).settings)

    def start_device(self, name: str) -> None:
        """Run a device's three roles."""
        self.start(name, "device", "run", self.folder / name)

    def wait_for_services(self, names: Sequence[str]) -> None:
        """Wait until the local services of devices answer."""
        for name in names:
            self.wait(f"the local service of {name}", partial(self._answers, name), 90, self.processes[name])

    def client(self, name: str) -> DeviceClient:
        """Return a client of a device's local service."""
        return DeviceClient.of(self.home(name))

    def model_version(self, name: str) -> int:
        """Return the version of the model that a device recommends from, 0 for none."""
        with self.client(name) as client:
            return int(client.status().model_version)

    def fedrec(self, *arguments: str | Path, seconds: float = 900) -> str:
        """Run a command to its end and return what it printed."""
        command = [sys.executable, "-m", "fedrec.cli", *map(str, arguments)]
        done = subprocess.run(
            command,
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout).rpartition("error: ")[2]
            raise DeploymentError(f"'fedrec {' '.join(command[3:5])}' failed: {said}")
        return done.stdout

    def start(self, name: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command that goes on until ``end`` or ``stop``."""
        self.processes[name] = self._popen(name, [str(argument) for argument in arguments])
        return self.processes[name]

    def stop(self, name: str) -> None:
        """End one process and what it started."""
        _end([self.processes.pop(name)])

    def wait(self, what: str, happened: Callable[[], bool], seconds: float, *needed: subprocess.Popen[bytes]) -> None:
        """Wait until something has happened; ``DeploymentError`` if a process that it needs ends, or time is up."""
        deadline = time.monotonic() + seconds
        while not happened():
            if any(process.poll() is not None for process in needed):
                raise DeploymentError(f"{what} did not come, its process has ended\n{self.tails()}")
            if time.monotonic() > deadline:
                raise DeploymentError(f"{what} did not come within {seconds:g} s\n{self.tails()}")
            time.sleep(PAUSE)

    def tails(self, characters: int = 2000) -> str:
        """Return the ends of all logs, the server's own among them."""
        logs = sorted([*(self.folder / "logs").glob("*.log"), *(self.server / "logs").glob("*.log")])
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-characters:]}" for path in logs)

    def end(self) -> list[int]:
        """End everything; return the ids of processes that outlived their parents, which are killed too."""
        _end(list(reversed(self.processes.values())))
        self.processes.clear()
        left = self.left()
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return left

    def left(self) -> list[int]:
        """Return the ids of processes that name this deployment's folder in their arguments or environment."""
        mine, found = str(self.folder).encode() + b"/", []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if mine in told and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
        return found

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of every process: this checkout or installation, one thread, a quiet Flower."""
        kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "FEDREC_FAULT_PLAN"}}
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1"}
        return {**kept, **quiet, "FEDREC_DEPLOYMENT": f"{self.folder}/", "PYTHONUNBUFFERED": "1", **(more or {})}

    def _answers(self, name: str) -> bool:
        try:
            with self.client(name) as client:
                client.status()
        except ServiceError:
            return False
        return True

    def _popen(self, name: str, arguments: Sequence[str], stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "fedrec.cli", *arguments],
                env=self.environment(),
                cwd=self.folder,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is for whoever runs the deployment, and ends it in order
            )


def _without_patience(path: Path) -> None:
    """Let a device hear orders every five seconds, and train without waiting for whatever else this machine does."""
    settings = DeviceSettings.load(path)
    server, training = replace(settings.server, orders_seconds=5.0), replace(settings.training, nice=0, threads=1)
    replace(settings, server=server, training=training).save(path)


def _usual_ports() -> tuple[int, int, int] | None:
    """Return the ports of a server that says nothing about them, None if one of them is taken."""
    usual = ServerSettings(host=HOST)
    ports = (usual.port, usual.superlink_port, usual.door_port)
    try:
        with contextlib.ExitStack() as stack:
            for port in ports:
                stack.enter_context(socket.create_server((HOST, port)))
    except OSError:
        return None
    return ports


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + END_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
