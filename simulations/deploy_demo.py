"""From nothing to a federation on this machine: three devices train a round over TLS, one of them recommends."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.policy import Policy
from clients.service import device_pb2 as pb
from fedrec.data.load import Dataset
from fedrec.errors import DataError
from fedrec.runs.folder import RunFolder
from simulations.deployment import Deployment

DEVICES = ("kitchen", "study", "hall")
EVENTS = 40
"""Events that each device has had, the latest of one person of the data."""
SCENARIO = "scenario.toml"
"""What the round was trained by, for whoever goes on with the demo."""
TRAINING = (
    "training.rounds=1",
    "training.sample_rate=1.0",
    "training.popularity_start=false",
    "federation.round_timeout=400",
    f"federation.nodes={len(DEVICES)}",
    "privacy.noise_seed=none",
    "privacy.delta=1e-5",
    "privacy.epsilon=2",
    "model.dim=16",
)
"""Settings over the scenario ``tiny``: one round in which everybody takes part, noise from the operating system."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What came of it. ``rounds`` were trained; ``reply``: of the device that was asked; ``seconds`` all took."""

    deployment: Deployment
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

    Nor need rounds be ten minutes apart, or days, so that whoever goes on with the demo can train again at once.
    """
    cohort = float(len(DEVICES))
    return Policy.for_device(min_expected_cohort=cohort, epsilon_per_day=8.0, min_separation_seconds=0.0)


def deploy(folder: Path, dataset: Dataset, say: Callable[[str], None]) -> Shown:
    """Bring a federation up in an empty ``folder``, train one round, publish its model and ask a device.

    The deployment is left running; whoever called ends it. After an error it is ended here.
    """
    started, deployment = time.monotonic(), Deployment(folder, usual_ports=True)
    try:
        raise_server(deployment, dataset, say)
        raise_devices(deployment, demo_policy(), say)
        say(f"devices: each has had up to {EVENTS} events of one person, which stay where they are")
        give_events(deployment, dataset)
        say("training: one round under user-level differential privacy, every reply signed by its device")
        run = train(deployment, TRAINING)
        shutil.copyfile(run.path / "config.toml", folder / SCENARIO)
        rounds = len(run.metrics())
        say(f"training: {rounds} round done; publishing its model, signed")
        deployment.fedrec("server", "publish", deployment.server, run.path)
        reply = ask(deployment, DEVICES[0])
    except BaseException:
        deployment.end()
        raise
    return Shown(deployment=deployment, rounds=rounds, reply=reply, seconds=time.monotonic() - started)


def is_demo(folder: Path) -> bool:
    """Return whether a demo was made in a folder, and kept."""
    return (folder / SCENARIO).is_file() and (folder / "server" / "server.toml").is_file()


def start_again(folder: Path, say: Callable[[str], None]) -> Deployment:
    """Start the server of a demo that was kept, and every device in its folder, those that were added too."""
    deployment = Deployment(folder)
    try:
        say(f"server: starting it again on https://127.0.0.1:{deployment.port}")
        with deployment.starting_server():
            for name in deployment.devices:
                deployment.start_device(name)
        say(f"devices: started {', '.join(deployment.devices)}")
        deployment.wait_for_services(deployment.devices)
    except BaseException:
        deployment.end()
        raise
    return deployment


def raise_server(deployment: Deployment, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Make and start the server, with the catalogue published."""
    say("server: making its authority, certificates and keys")
    deployment.init_server()
    say(f"server: starting SuperLink, door and nginx on https://127.0.0.1:{deployment.port}")
    with deployment.starting_server():
        dataset.catalogue.save(deployment.folder / "catalogue")
        deployment.fedrec("server", "publish", deployment.server, deployment.folder / "catalogue")


def raise_devices(
    deployment: Deployment, policy: Policy, say: Callable[[str], None], *, port: int = 0, user: str = ""
) -> None:
    """Make, enrol and start the devices. ``port``: of a proxy before the front door. ``user``: the person's key."""
    say(f"devices: making and enrolling {', '.join(DEVICES)} by a code that is good for {len(DEVICES)}")
    written = deployment.folder / "policy.toml"
    written.write_text(policy.to_toml())
    code = deployment.enrolment_code(len(DEVICES))
    deployment.init_devices(DEVICES, code, written, port=port, users=(user,) if user else ())
    say("devices: starting the local service, the link to the server and the trainer of each")
    for name in DEVICES:
        deployment.start_device(name)
    deployment.wait_for_services(DEVICES)


def train(deployment: Deployment, settings: Sequence[str]) -> RunFolder:
    """Train on the devices and return the run's folder; ``settings``: ``A.B=C`` over the scenario ``tiny``."""
    before = set((deployment.server / "runs").iterdir())
    deployment.fedrec("server", "train", deployment.server, "tiny", *(p for text in settings for p in ("--set", text)))
    (new,) = set((deployment.server / "runs").iterdir()) - before
    return RunFolder.open(new)


def ask(deployment: Deployment, name: str) -> pb.RecommendReply:
    """Wait until a device has a model, and return its five best items with reasons."""
    deployment.wait(f"the model on {name}", lambda: deployment.model_version(name) > 0, 120)
    with deployment.client(name) as client:
        return client.recommend(k=5, explain=True)


def give_events(deployment: Deployment, dataset: Dataset) -> None:
    """Record each person's events on a device, as the program of a shop or a player does: by the local service."""
    now = time.time()
    for name, items in zip(DEVICES, people(dataset, len(DEVICES)), strict=True):
        with deployment.client(name) as client:
            for age, item in enumerate(reversed(items)):
                client.record(item, time=now - 3600 * (age + 1))


def spent(deployment: Deployment, name: str) -> pb.PrivacyReply:
    """Return what the round has cost the person on a device, by the device's own ledger."""
    with deployment.client(name) as client:
        return client.privacy()
