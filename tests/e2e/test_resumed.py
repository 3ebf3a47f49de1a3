"""A deployed server whose SuperLink or server app is killed in mid-run: the run goes on, on the same devices."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients.policy import Policy
from fedrec.config import DataConfig
from fedrec.data.load import load_dataset
from fedrec.flower.events import What
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from server.door.enrolments import Enrolments
from server.door.home import ServerHome
from simulations.deploy_demo import DEVICES, TRAINING, give_events, raise_devices, raise_server
from simulations.deployment import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(900)]

ROUNDS = 3
SETTINGS = (*TRAINING, f"training.rounds={ROUNDS}", "privacy.epsilon=20", "run.name=resumed")
POLICY = Policy.for_device(
    min_expected_cohort=3.0,
    epsilon=1e6,
    epsilon_per_round=1e3,
    epsilon_per_day=1e6,
    min_noise_multiplier=0.1,
    min_separation_seconds=0.0,
)


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    folder = Path(tempfile.mkdtemp(prefix="fr-", dir="/tmp"))
    made = Deployment(folder)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


def processes(deployment: Deployment, *named: str) -> list[int]:
    """Return the server's processes whose command line holds all of these words."""
    found = []
    for process in deployment.left():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes()
            if all(name.encode() in words for name in named):
                found.append(process)
    return found


def committed(run: RunFolder) -> int:
    return max((row["round"] for row in run.events() if row["what"] == What.ROUND_COMMITTED), default=0)


@pytest.mark.fault
@pytest.mark.parametrize("victim", ["superlink", "serverapp"])
def test_a5_a_run_whose_superlink_or_server_app_is_killed_goes_on_by_itself(deployment, victim):
    dataset = load_dataset(DataConfig(synthetic_users=40, synthetic_items=60), seed=0)
    raise_server(deployment, dataset, print)
    raise_devices(deployment, POLICY, print)
    give_events(deployment, dataset)
    enrolled = Enrolments.open(ServerHome(deployment.server).enrolments).devices()
    began = time.monotonic()
    settings = [part for text in SETTINGS for part in ("--set", text)]
    training = deployment.start("train", "server", "train", deployment.server, "tiny", *settings)
    runs = deployment.server / "runs"
    deployment.wait("the run's folder", lambda: any(runs.glob("*/config.toml")), 120, training)
    run = RunFolder.open(next(runs.glob("*/config.toml")).parent)
    deployment.wait("round 1", lambda: committed(run) >= 1, 400, training)
    one_round = next(row["facts"]["seconds"] for row in run.events() if row["what"] == What.ROUND_COMMITTED)
    print(f"{victim}: round 1 took {one_round:.0f} s, with its start {time.monotonic() - began:.0f} s")
    killed = time.monotonic()
    hit = processes(deployment, "flower-superlink", "--database") if victim == "superlink" else app(deployment)
    assert hit, deployment.tails()
    for process in hit:
        os.kill(process, signal.SIGKILL)
    before = committed(run)
    deployment.wait("the next round", lambda: committed(run) > before, 600, training)
    lost = time.monotonic() - killed
    print(f"{victim}: the next was committed {lost:.0f} s after the kill")
    deployment.wait("the end", lambda: training.poll() is not None, 600)
    assert training.returncode == 0, deployment.tails()
    assert committed(run) == ROUNDS
    assert lost < one_round + 90.0
    now = Enrolments.open(ServerHome(deployment.server).enrolments).devices()
    assert [replace(device, sequence=0) for device in now] == enrolled
    assert {device.sequence for device in now} == {ROUNDS}  # each device's reply to each round was counted once
    rounds = [charge.round for charge in Ledger(run.ledger_path).charges()]
    assert len(rounds) == len(set(rounds)) == ROUNDS
    assert len(DEVICES) == len(enrolled)


def app(deployment: Deployment) -> list[int]:
    return processes(deployment, "flwr-serverapp")
