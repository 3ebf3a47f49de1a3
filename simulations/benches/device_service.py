"""The local service of a device: how fast it answers, alone and beside training, how soon it is there, what it holds.

The service is a real process that is asked over its Unix socket, once a lap, in turn with training beside it. Whoever
asks is this process; what the service itself takes of the processor is told too, since on a machine that others use
the time of an answer is theirs as well.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings, ServerSettings
from clients.local_store import Event, LocalStore
from clients.service.client import DeviceClient
from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError, FedRecError
from fedrec.models import build_model
from fedrec.serving.export import export_model
from fedrec.serving.package import FoldIn
from simulations.benches import device_training

NUM_FEATURES = 20


@dataclass(frozen=True, kw_only=True)
class Work:
    """``calls``: of each measurement; every tenth follows an event. ``starts``: of the service, cold, one by one."""

    items: int = 50_000
    dim: int = 64
    events: int = 200
    k: int = 10
    calls: int = 1000
    starts: int = 5
    training_threads: int = 1

    def __post_init__(self) -> None:
        if self.items < self.events + 2 * self.calls:
            raise ConfigError(f"{self.items} items are too few for {self.calls} lists: raise --items or lower --lists")


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of ``calls`` answers. ``cpu``: the service's own processor time an answer."""

    calls: int
    p50: float
    p95: float
    p99: float
    longest: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured.

    ``starts``: seconds from a process's beginning to its first list; ``starts_cpu``: those of the processor.
    ``rss_mib``, ``peak_mib``: resident memory after all calls, and its most since the start. ``trained``: tasks that
    were finished beside the calls.
    """

    work: Work
    alone: Latency
    beside_training: Latency | None
    explained: Latency
    recorded: Latency
    trained: int
    starts: list[float]
    starts_cpu: list[float]
    rss_mib: float
    peak_mib: float


def bench_service(work: Work, *, training: bool = True) -> Found:
    """Measure a service over a served model of the default branches, its parameters as they begin."""
    with TemporaryDirectory(prefix="fedrec-bench-") as folder:
        home = DeviceHome(Path(folder, "device"))
        items = make_device(home, work)
        starts = [_cold_start(home) for _ in range(work.starts)]
        with _service(home) as process, DeviceClient.of(home) as client:
            recommend = lambda number: client.recommend(k=work.k)  # noqa: E731
            alone = _timed(process.pid, work.calls, recommend, client, items)
            explained = _timed(process.pid, work.calls // 10, lambda _: client.recommend(k=work.k, explain=True))
            recorded = _timed(process.pid, work.calls // 10, lambda number: client.record(items[-number - 1]))
            beside, trained = None, 0
            if training:
                with _training(Path(folder), work) as finished:
                    beside = _timed(process.pid, work.calls, recommend, client, items[work.calls :])
                trained = finished()
            rss, peak = _memory(process.pid, "VmRSS"), _memory(process.pid, "VmHWM")
    return Found(
        work=work,
        alone=alone,
        beside_training=beside,
        explained=explained,
        recorded=recorded,
        trained=trained,
        starts=[wall for wall, _ in starts],
        starts_cpu=[cpu for _, cpu in starts],
        rss_mib=rss,
        peak_mib=peak,
    )


def make_device(home: DeviceHome, work: Work) -> list[str]:
    """Write a device that has a catalogue, a model and one user's events; return the items without an event."""
    random = np.random.default_rng(0)
    ids = tuple(f"item-{number}" for number in range(work.items))
    features = (random.random((work.items, NUM_FEATURES)) < 0.1).astype(np.float32)
    names = tuple(f"feature-{number}" for number in range(NUM_FEATURES))
    titles = tuple(f"The title of item {number}" for number in range(work.items))
    catalogue = Catalogue(item_ids=ids, titles=titles, features=features, feature_names=names)
    home.path.mkdir(mode=0o700)
    DeviceSettings(key="bench", server=ServerSettings(address="server.invalid:443")).save(home.settings)
    catalogue.save(home.catalogues / "1")
    versions.switch(home.catalogues, 1)
    model = build_model(ModelConfig(dim=work.dim), catalogue, 0)
    home.models.mkdir()
    export_model(home.models / "1", model, model.shared_state(), catalogue, run_id="bench", round=1, fold_in=FoldIn())
    versions.switch(home.models, 1)
    order = random.permutation(work.items)
    with LocalStore.create(home.store) as store:
        for position, code in enumerate(order[: work.events]):
            store.record(Event("me", ids[code], time.time() - 86_400 + position))
    return [ids[code] for code in order[work.events :]]


def _cold_start(home: DeviceHome) -> tuple[float, float]:
    """Return the seconds until a new process has answered its first list, and those of the processor."""
    began = time.perf_counter()
    with _service(home) as process, DeviceClient.of(home) as client:
        client.recommend()
        return time.perf_counter() - began, _processor_seconds(process.pid)


@contextmanager
def _service(home: DeviceHome) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "clients.service", str(home.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None  # for the type checker: it is a pipe
    try:
        told = ""
        while "answers at" not in (line := process.stderr.readline()):
            told += line
            if not line:
                raise FedRecError(f"the service did not start: {told.strip()}")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _timed(
    process: int,
    calls: int,
    call: Callable[[int], object],
    client: DeviceClient | None = None,
    items: list[str] | None = None,
) -> Latency:
    """Time calls, with an event before every tenth where there is a client to keep it by; it is not timed."""
    took, cpu, began = [], 0.0, 0.0
    for number in range(-3, calls):  # the first three warm up
        if client and items and number % 10 == 0:
            client.record(items[number // 10])
        spent, began = _processor_seconds(process), time.perf_counter()
        call(max(number, 0))
        if number >= 0:
            took.append(1000 * (time.perf_counter() - began))
            cpu += _processor_seconds(process) - spent
    p50, p95, p99 = (float(value) for value in np.percentile(took, [50, 95, 99]))
    return Latency(calls=calls, p50=p50, p95=p95, p99=p99, longest=max(took), cpu=1000 * cpu / calls)


@contextmanager
def _training(folder: Path, work: Work) -> Iterator[Callable[[], int]]:
    """Train one task after another in processes of their own, as nice as a device's, while the block runs."""
    task = device_training.Task(items=work.items, dim=work.dim, events=work.events, threads=work.training_threads)
    text = json.dumps({name: getattr(task, name) for name in ("kind", "items", "dim", "events", "threads")})
    command = [sys.executable, "-m", device_training.__name__]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": str(work.training_threads),
    }
    beside = folder / "training"
    beside.mkdir()
    subprocess.run([*command, "prepare", str(beside), text], check=True, env=environment)
    ended, finished = threading.Event(), [0]
    running: list[subprocess.Popen[bytes]] = []

    def train() -> None:
        while not ended.is_set():
            process = subprocess.Popen(["nice", "-n", "19", *command, "train", str(beside), text], env=environment)
            running[:] = [process]
            finished[0] += process.wait() == 0

    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield lambda: finished[0]
    finally:
        ended.set()
        for process in running:
            process.kill()
        thread.join()


def _processor_seconds(process: int) -> float:
    """Return the time on a processor of all threads of a process, to a nanosecond where the kernel tells it so."""
    total = 0
    for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[0])
        except FileNotFoundError:  # a thread that has just ended
            continue
    return total / 1e9


def _memory(process: int, name: str) -> float:
    """Return a figure of a process' memory, MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
