"""From nothing to a federation on this machine: three devices train a round over TLS, one of them recommends."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.device.home import DeviceHome
from clients.policy import Policy
from clients.service import device_pb2 as pb
from fedrec.data.load import Dataset
from fedrec.errors import DataError
from simulations.deployment import Deployment

DEVICES = ("kitchen", "study", "hall")
EVENTS = 40
"""Events that each device has had, the latest of one person of the data."""
TRAINING = (
    "training.rounds=1",
    "training.sample_rate=1.0",
    "training.popularity_start=false",
    "federation.round_timeout=120",
    f"federation.nodes={len(DEVICES)}",
    "privacy.noise_seed=none",
    "privacy.delta=1e-5",
    "model.dim=16",
)
"""Settings over the scenario ``tiny``: one round in which everybody takes part, noise from the operating system."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What came of it. ``rounds`` were trained; ``reply``: of the device that was asked; ``seconds`` all took."""

    deployment: Deployment
    run: Path
    rounds: int
    reply: pb.RecommendReply
    seconds: float


def people(dataset: Dataset, count: int) -> list[list[str]]:
    """Return the latest raw item ids, oldest first, of those ``count`` people who have the most events."""
    histories = dataset.splits.final.train
    lengths = np.diff(histories.offsets)
    chosen = np.argsort(-lengths, kind="stable")[:count]
    if len(chosen) < count:
        raise DataError(f"the data set has {len(chosen)} people, {count} are needed")
    ids = dataset.catalogue.item_ids
    return [[ids[code] for code in histories[user][-EVENTS:]] for user in chosen]


def demo_policy() -> Policy:
    """Return what the owners of these devices allow: what a device ships with, but for three people instead of twenty.

    One round of three people costs each of them more than a round among many does.
    """
    return Policy.for_device(min_expected_cohort=float(len(DEVICES)), epsilon_per_round=8.0, epsilon_per_day=8.0)


def deploy(folder: Path, dataset: Dataset, say: Callable[[str], None]) -> Shown:
    """Bring a federation up in an empty ``folder``, train one round, publish its model and ask a device.

    The deployment is left running; whoever called ends it, also after an error.
    """
    started, deployment = time.monotonic(), Deployment(folder)
    try:
        return _deploy(deployment, dataset, say, started)
    except BaseException:
        deployment.end()
        raise


def _deploy(deployment: Deployment, dataset: Dataset, say: Callable[[str], None], started: float) -> Shown:
    folder = deployment.folder
    say("server: making its authority, certificates and keys")
    deployment.init_server()
    dataset.catalogue.save(folder / "catalogue")
    deployment.fedrec("server", "publish", deployment.server, folder / "catalogue")
    say(f"server: starting SuperLink, door and nginx on https://127.0.0.1:{deployment.port}")
    deployment.start_server()
    say(f"devices: making and enrolling {', '.join(DEVICES)} by a code that is good for {len(DEVICES)}")
    policy = folder / "policy.toml"
    policy.write_text(demo_policy().to_toml())
    deployment.init_devices(DEVICES, deployment.enrolment_code(len(DEVICES)), policy)
    say("devices: starting the local service, the link to the server and the trainer of each")
    for name in DEVICES:
        deployment.start_device(name)
    deployment.wait_for_services(DEVICES)
    say(f"devices: each has had {EVENTS} events of one person, which stay where they are")
    give_events(deployment, dataset)
    say("training: one round under user-level differential privacy, every reply signed by its device")
    deployment.fedrec(
        "server", "train", deployment.server, "tiny", *(part for text in TRAINING for part in ("--set", text))
    )
    run = max((deployment.server / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    rounds = len((run / "metrics.jsonl").read_text().splitlines())
    say(f"training: {rounds} round done; publishing its model, signed")
    deployment.fedrec("server", "publish", deployment.server, run)
    asked = DEVICES[0]
    deployment.wait(f"the model on {asked}", lambda: deployment.model_version(asked) > 0, 90)
    with deployment.client(asked) as client:
        reply = client.recommend(k=5, explain=True)
    return Shown(deployment=deployment, run=run, rounds=rounds, reply=reply, seconds=time.monotonic() - started)


def give_events(deployment: Deployment, dataset: Dataset) -> None:
    """Record each person's events on a device, as the program of a shop or a player does: by the local service."""
    now = time.time()
    for name, items in zip(DEVICES, people(dataset, len(DEVICES)), strict=True):
        with deployment.client(name) as client:
            for age, item in enumerate(reversed(items)):
                client.record(item, time=now - 3600 * (age + 1))


def spent(home: DeviceHome, deployment: Deployment) -> pb.PrivacyReply:
    """Return what the round has cost the person on a device, by the device's own ledger."""
    with deployment.client(home.path.name) as client:
        return client.privacy()
