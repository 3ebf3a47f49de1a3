"""A real deployment on loopback: one SuperLink, several SuperNodes, each a process with a home of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
APP = ("fedrec", "clients", "server", "pyproject.toml", "README.md", "LICENSE")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Deployment:
    """Starts processes in ``folder`` and ends them, by their own ids, in the reverse order."""

    folder: Path
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return {
            **inherited,
            "FLWR_HOME": str(self.folder / "flwr-home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def launch(self, name: str, *command: str | Path) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self.processes.append(process)
        return process

    def start_superlink(self) -> None:
        options = ("--insecure", "--disable-runtime-dependency-installation", "--port", str(self.port))
        self.launch("superlink", BIN / "flower-superlink", *options)
        self.wait("the SuperLink's port", self._listens, 60)

    def start_supernode(self, name: str, node: Path) -> None:
        command = (BIN / "flower-supernode", "--insecure", "--superlink", self.address)
        config = ("--port", str(free_port()), "--node-config", f'node="{node}"')
        self.launch(name, *command, *config)

    def run(self, run_folder: Path, until: Callable[[], bool]) -> dict[str, object]:
        """Submit the app, wait for what its end leaves on the disk, and return what Flower says of the run."""
        app = self.folder / "fedrec"
        app.mkdir()
        for part in APP:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
            copy(ROOT / part, app / part)
        home = self.folder / "flwr-home"
        home.mkdir(exist_ok=True)
        connection = f'[superlink.test]\naddress = "{self.address}"\ninsecure = true\n'
        (home / "config.toml").write_text(f'[superlink]\ndefault = "test"\n\n{connection}')
        started = self.flwr("run", app, "test", "--run-config", f'run="{run_folder}"', "--format", "json")
        self.wait("the end of the run", lambda: until() or "raised an exception" in self.log("superlink"), 300)
        return self.ended(str(started["run-id"]))

    def ended(self, run_id: str) -> dict[str, object]:
        """Return Flower's own record of a run, once it is finished."""
        for _ in range(10):
            shown = self.flwr("list", "test", "--run-id", run_id, "--format", "json")
            runs: list[dict[str, object]] = shown["runs"]
            if str(runs[0]["status"]).startswith("finished"):
                return runs[0]
            time.sleep(1)
        pytest.fail(f"the run does not finish\n{self.tails()}")

    def flwr(self, *arguments: str | Path) -> dict[str, object]:
        command = [str(BIN / "flwr"), *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, object] = json.loads(done.stdout)
        return result

    def wait(self, what: str, happened: Callable[[], bool], seconds: float, *needed: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            dead = [process.args for process in needed if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                pytest.fail(f"{what} did not come: {'dead are ' + str(dead) if dead else 'time is up'}\n{self.tails()}")
            time.sleep(0.5)

    def tails(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
        for pid in self.orphans():  # a server app outlives its SuperLink
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def orphans(self) -> list[int]:
        """Return the ids of processes that carry this deployment's home in their environment."""
        mine = f"FLWR_HOME={self.folder / 'flwr-home'}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mine in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    folder = tmp_path / "deployment"
    folder.mkdir()
    started = Deployment(folder)
    try:
        yield started
    finally:
        started.end()
