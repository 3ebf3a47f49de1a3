"""What one list costs a device without a socket: processor time and memory of numpy inference, by kind of model.

A process of its own that never imports torch reads an installed model, keeps events and asks for lists, as the local
service does (``simulations.benches.device_service`` measures that). Processor time is told beside the clock's, since on
a machine that others use the clock's is theirs as well.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.inference.recommender import Recommender
from clients.local_store import Event, LocalStore

MODELS: dict[str, dict[str, Any]] = {
    "mf": {"branches": ("mf",)},
    "cf, mf, gru": {},
    "cf, mf, sasrec": {"sequence_encoder": "sasrec"},
    "cf, mf, gru; popularity, pca, ials": {"members": ("popularity", "pca", "ials")},
    "all branches": {"branches": ("cf", "siamese", "neumf", "autoencoder", "mf", "seq", "neighbours")},
}
"""Settings of what is measured, by name."""

NUM_FEATURES = 20


@dataclass(frozen=True, kw_only=True)
class Work:
    """``lists``: of each kind; ``events``: that the user has before."""

    items: int = 50_000
    dim: int = 64
    events: int = 200
    lists: int = 200
    k: int = 10


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Milliseconds of a kind of list: by the clock and of the processor."""

    p50: float
    p95: float
    cpu_p50: float
    cpu_p95: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """Of one model. ``after_event``: a list that follows an event; ``again``: one that follows another list.

    ``load``: seconds of the processor to read and check the model; ``first``: of the first list, fitting the user;
    ``megabytes``: of the model's files. ``rss_mib`` and ``peak_mib``: resident memory of the process, Python included.
    """

    model: str
    after_event: Cost
    again: Cost
    explained: Cost
    load: float
    first: float
    megabytes: float
    rss_mib: float
    peak_mib: float


def measure(name: str, work: Work) -> Found:
    """Make a device with such a model and measure it in a process of its own."""
    with TemporaryDirectory(prefix="fedrec-bench-") as folder:
        home = DeviceHome(Path(folder, "device"))
        _prepare(home, MODELS[name], work)
        command = [sys.executable, "-m", __name__, name, str(home.path), json.dumps(asdict(work))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    table: dict[str, Any] = json.loads(told)
    table |= {kind: Cost(**table[kind]) for kind in ("after_event", "again", "explained")}
    return Found(**table)


def _prepare(home: DeviceHome, settings: dict[str, Any], work: Work) -> None:
    """Write a device with a catalogue, a model with parameters as they begin, and one user's events."""
    # Here alone: the process that is measured imports this module too, and must not have torch.
    from fedrec.config import ModelConfig
    from fedrec.data.catalogue import Catalogue
    from fedrec.models import build_model
    from fedrec.serving.export import export_model
    from fedrec.serving.package import FoldIn

    random = np.random.default_rng(0)
    ids = tuple(f"item-{number}" for number in range(work.items))
    catalogue = Catalogue(
        item_ids=ids,
        titles=tuple(f"The title of item {number}" for number in range(work.items)),
        features=(random.random((work.items, NUM_FEATURES)) < 0.1).astype(np.float32),
        feature_names=tuple(f"genre={number}" for number in range(NUM_FEATURES)),
    )
    home.path.mkdir(mode=0o700)
    catalogue.save(home.catalogues / "1")
    versions.switch(home.catalogues, 1)
    model = build_model(ModelConfig(dim=work.dim, **settings), catalogue, 0)
    home.models.mkdir()
    export_model(home.models / "1", model, model.shared_state(), catalogue, run_id="bench", round=1, fold_in=FoldIn())
    versions.switch(home.models, 1)
    with LocalStore.create(home.store) as store:
        for position, code in enumerate(random.permutation(work.items)[: work.events].tolist()):
            store.record(Event("me", ids[code], 1e9 + position))


def _measured(name: str, home: DeviceHome, work: Work) -> dict[str, Any]:
    """Return the fields of ``Found``, measured in this process."""
    with LocalStore.open(home.store) as store:
        began = time.process_time()
        recommender = Recommender(home, store)
        loaded = time.process_time()
        recommender.recommend("me", work.k)
        first = time.process_time()
        numbers = iter(range(work.items))

        def after_event() -> Callable[[], object]:
            number = next(numbers)
            store.record(Event("me", f"item-{number}", 1.1e9 + number))
            return lambda: recommender.recommend("me", work.k)

        return {
            "model": name,
            "after_event": asdict(_timed(work.lists, after_event)),
            "again": asdict(_timed(work.lists, lambda: lambda: recommender.recommend("me", work.k))),
            "explained": asdict(
                _timed(work.lists // 10, lambda: lambda: recommender.recommend("me", work.k, explain=True))
            ),
            "load": loaded - began,
            "first": first - loaded,
            "megabytes": sum(path.stat().st_size for path in (home.models / "1").iterdir()) / 1e6,
            "rss_mib": _memory("VmRSS"),
            "peak_mib": _memory("VmHWM"),
        }


def _timed(lists: int, prepare: Callable[[], Callable[[], object]]) -> Cost:
    """Time what ``prepare`` returns; preparing is not timed, nor are the first three."""
    clock, processor = [], []
    for number in range(-3, lists):
        ask = prepare()
        began, spent = time.perf_counter(), time.process_time()
        ask()
        if number >= 0:
            processor.append(1000 * (time.process_time() - spent))
            clock.append(1000 * (time.perf_counter() - began))
    (p50, p95), (cpu_p50, cpu_p95) = (np.percentile(taken, [50, 95]) for taken in (clock, processor))
    return Cost(p50=float(p50), p95=float(p95), cpu_p50=float(cpu_p50), cpu_p95=float(cpu_p95))


def _memory(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status does not tell {field}: memory is measured on Linux only")


if __name__ == "__main__":
    print(json.dumps(_measured(sys.argv[1], DeviceHome(Path(sys.argv[2])), Work(**json.loads(sys.argv[3])))))
