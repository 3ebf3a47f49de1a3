"""A deployed server in an operator's hands: pause and resume, taking a run back, readiness, the kill switch.

One deployment and one run that trains throughout; the tests stand in the order in which they are played.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from clients.policy import Policy
from fedrec.config import DataConfig
from fedrec.data.load import load_dataset
from fedrec.flower.events import What
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from server.door.home import ServerHome, ServerSettings
from simulations.deploy_demo import TRAINING, give_events, raise_devices, raise_server
from simulations.deployment import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(1800), pytest.mark.xdist_group("operated")]

SETTINGS = (*TRAINING, "training.rounds=40", "privacy.epsilon=200", "run.name=operated")
POLICY = Policy.for_device(
    min_expected_cohort=3.0,
    epsilon=1e6,
    epsilon_per_round=1e3,
    epsilon_per_day=1e6,
    min_noise_multiplier=0.1,
    min_separation_seconds=0.0,
)
PATIENCE = 400.0


@dataclass
class Operated:
    """A run under way on a deployment, and its console."""

    deployment: Deployment
    run: RunFolder
    training: "subprocess.Popen[bytes]"
    console: str = ""
    opener: urllib.request.OpenerDirector | None = None

    @property
    def name(self) -> str:
        return self.run.path.name

    def rounds(self, what: What = What.ROUND_COMMITTED) -> list[int]:
        return [row["round"] for row in self.run.events() if row["what"] == what]

    def paused(self) -> bool:
        told = [row["what"] for row in self.run.events()]
        return bool(told) and told[-1] == What.RUN_PAUSED

    def wait(self, what, happened):
        self.deployment.wait(what, happened, PATIENCE)

    def trains_on(self):
        """Wait until another round is committed."""
        before = len(self.rounds())
        self.wait("another round", lambda: len(self.rounds()) > before)

    def get(self, path: str) -> str:
        with self.opener.open(f"{self.console}{path}", timeout=60) as answer:
            return answer.read().decode()

    def press(self, command: str, *, run: str = "", detail: str = "") -> str:
        """Press a button as the page has it: with the form's own token, and confirmed."""
        token = self.get("").split('name="csrf" value="')[1].split('"')[0]
        fields = {"csrf": token, "command": command, "run": run, "detail": detail, "confirm": "yes"}
        data = urllib.parse.urlencode(fields).encode()
        with self.opener.open(f"{self.console}command", data=data, timeout=180) as answer:
            return answer.read().decode()

    def ready(self) -> tuple[int, dict[str, str]]:
        """Return the status of ``/readyz`` and what it names."""
        settings = ServerSettings.load(ServerHome(self.deployment.server).settings)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{settings.door_port}/readyz", timeout=30) as answer:
                return answer.status, json.load(answer)["problems"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["problems"]


@pytest.fixture(scope="module")
def operated() -> Iterator[Operated]:
    folder = Path(tempfile.mkdtemp(prefix="fr-", dir="/tmp"))
    deployment = Deployment(folder)
    try:
        dataset = load_dataset(DataConfig(synthetic_users=40, synthetic_items=60), seed=0)
        raise_server(deployment, dataset, print)
        raise_devices(deployment, POLICY, print)
        give_events(deployment, dataset)
        settings = [part for text in SETTINGS for part in ("--set", text)]
        training = deployment.start("train", "server", "train", deployment.server, "tiny", *settings)
        runs = deployment.server / "runs"
        deployment.wait("the run's folder", lambda: any(runs.glob("*/config.toml")), PATIENCE, training)
        made = Operated(deployment, RunFolder.open(next(runs.glob("*/config.toml")).parent), training)
        deployment.wait("round 2", lambda: 2 in made.rounds(), PATIENCE, training)
        console = deployment.start("console", "server", "console", deployment.server)
        deployment.wait("the console", lambda: "open http://" in deployment.log("console"), PATIENCE, console)
        made.console = deployment.log("console").split("open ")[1].split()[0]
        made.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        token = (deployment.server / "console.token").read_text().strip()
        data = urllib.parse.urlencode({"token": token}).encode()
        deployment.wait("its login", lambda: _answers(made, data), PATIENCE, console)
        yield made
    finally:
        deployment.end()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(operated: Operated, data: bytes) -> bool:
    try:
        operated.opener.open(f"{operated.console}login", data=data, timeout=60).close()
    except urllib.error.URLError:
        return False
    return True


def test_the_console_shows_the_run_and_its_devices_while_they_train(operated):
    operated.wait("the devices", lambda: operated.get("").count("online") >= 3)
    page = operated.get("")
    assert operated.name in page
    assert all(name in page for name in ("kitchen", "study", "hall"))
    assert "Epsilon spent by round" in page
    assert operated.ready() == (200, {})


def test_a_paused_run_opens_no_round_and_goes_on_when_it_is_let(operated):
    operated.press("pause", run=operated.name)
    operated.wait("the pause", operated.paused)
    opened = len(operated.rounds(What.ROUND_OPENED))
    assert len(operated.rounds()) == opened  # the open one was finished
    assert operated.ready() == (200, {})
    assert len(operated.rounds(What.ROUND_OPENED)) == opened
    operated.press("resume", run=operated.name)
    operated.trains_on()


def test_a_run_in_training_is_taken_back_and_trains_on_and_what_it_released_stays_paid_for(operated):
    operated.press("pause", run=operated.name)
    operated.wait("the pause", operated.paused)
    last = operated.rounds()[-1]
    charged = [charge.round for charge in Ledger(operated.run.ledger_path).charges()]
    operated.press("resume", run=operated.name)
    began = time.monotonic()
    told = operated.press("rollback", run=operated.name, detail=str(last - 1))
    assert f"stands after round {last - 1}" in told
    begun = len(operated.rounds())
    operated.wait("the round again", lambda: len(operated.rounds()) > begun)
    print(f"taken back and a round further after {time.monotonic() - began:.0f} s")
    assert operated.rounds()[begun] == last
    after = [charge.round for charge in Ledger(operated.run.ledger_path).charges()]
    assert after[: len(charged)] == charged
    assert after.count(last) >= 2  # paid for again


def test_readiness_names_a_superlink_that_does_not_answer(operated):
    """Frozen, not dead: a dead one is started anew with all others."""
    superlinks = [
        process
        for process in operated.deployment.left()
        if b"flower-superlink" in Path(f"/proc/{process}/cmdline").read_bytes()
    ]
    assert superlinks
    subprocess.run(["kill", "-STOP", *map(str, superlinks)], check=True)
    try:
        status, problems = operated.ready()
    finally:
        subprocess.run(["kill", "-CONT", *map(str, superlinks)], check=True)
    assert (status, list(problems)) == (503, ["superlink"])
    operated.trains_on()


def test_the_kill_switch_ends_the_run_reaches_every_device_and_is_lifted(operated):
    told = operated.press("kill")
    assert "the kill switch is on" in told
    names = ("kitchen", "study", "hall")
    command = [sys.executable, "-m", "fedrec.cli", "server", "train", str(operated.deployment.server), "tiny"]
    operated.wait("the end of the run", lambda: operated.training.poll() is not None)
    for name in names:
        orders = operated.deployment.home(name).orders
        operated.wait(f"the stop on {name}", lambda orders=orders: json.loads(orders.read_bytes())["payload"]["stop"])
    environment = operated.deployment.environment()
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert refused.returncode != 0
    assert "the kill switch is on" in refused.stderr + refused.stdout
    assert "the kill switch is off" in operated.press("unkill")
    for name in names:
        orders = operated.deployment.home(name).orders
        operated.wait(
            f"the end of it on {name}", lambda orders=orders: not json.loads(orders.read_bytes())["payload"]["stop"]
        )
