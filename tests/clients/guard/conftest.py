"""A deployed device with two users, a clock that tests move, and processes that are really killed."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings, ServerSettings
from clients.device_node import DeviceNode
from clients.guard.clock import Sources
from clients.guard.device_guard import DeviceGuard
from clients.local_store import Event, LocalStore
from clients.policy import Policy
from fedrec import faults
from fedrec.data.catalogue import Catalogue
from fedrec.faults import Fault, FaultPlan, What
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import TrainTask
from fedrec.signing.device_keys import create_device_key

DAY = 24 * 3600.0
WILLING = Policy(consent=True, epsilon=100.0)
OWN_NOISE = Mechanism(
    clip_norm=1.0, noise_multiplier=2.0, sample_rate=1.0, population=50, placement="device", amplified=False
)


@dataclass
class Clocks:
    """The clocks of a machine, which tests move."""

    wall: float = 1_800_000_000.0
    steady: float = 1_000.0
    boot: str = "first"
    synchronised: bool = False

    def sources(self) -> Sources:
        return Sources(
            wall=lambda: self.wall,
            steady=lambda: self.steady,
            boot=lambda: self.boot,
            synchronised=lambda: self.synchronised,
        )

    def pass_(self, seconds: float) -> None:
        """Time goes by, as every clock says."""
        self.wall += seconds
        self.steady += seconds

    def reboot(self, name: str, wall: float) -> None:
        """The machine starts again, its wall clock at ``wall``."""
        self.boot, self.steady, self.wall = name, 5.0, wall


@dataclass
class Device:
    """A device's folder; ``open`` is what the next process sees of it."""

    home: DeviceHome
    clocks: Clocks = field(default_factory=Clocks)
    free: int = 1 << 40
    stack: ExitStack = field(default_factory=ExitStack)

    def open(self) -> DeviceNode:
        node = DeviceNode.open(self.home.path)
        self.stack.callback(node.close)
        guard = DeviceGuard.of(self.home, node.ledger, node.local, node.consents, self.clocks.sources())
        guard._free = lambda: self.free
        node.__dict__["guard"] = guard
        return node

    def set(self, policy: Policy) -> None:
        self.home.policy.write_text(policy.to_toml())

    def killed_at(self, place: str, act: Callable[[DeviceNode], object]) -> None:
        """Let a process of its own do ``act`` and be killed where it reaches ``place``."""
        child = os.fork()
        if child == 0:
            try:
                torch.set_num_threads(1)
                with faults.installed(FaultPlan(faults=(Fault(where=place, what=What.KILL),))):
                    act(self.open())
            finally:
                os._exit(7)  # it came to an end of its own
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the process was not killed at {place}: it ended with {status}"


Make = Callable[..., Device]


@pytest.fixture
def make_device(tmp_path: Path, catalogue: Catalogue) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(policy: Policy = WILLING, name: str = "device") -> Device:
            home = DeviceHome(tmp_path / name)
            home.path.mkdir(mode=0o700)
            DeviceSettings(key=name, server=ServerSettings(address="server.invalid:443")).save(home.settings)
            create_device_key(home.key)
            home.policy.write_text(policy.to_toml())
            lay(home, catalogue, 1)
            with LocalStore.create(home.store, ("ann", "bob")) as store:
                for user, items in (("ann", (0, 1, 2, 3)), ("bob", (5, 6, 7, 8, 0))):
                    for time, item in enumerate(items):
                        store.record(Event(user, f"i{item}", float(time), "interaction"))
                store.set_consent(True)
            return Device(home, stack=stack)

        yield make


@pytest.fixture
def device(make_device: Make) -> Device:
    return make_device()


@pytest.fixture
def task(task: TrainTask) -> TrainTask:
    """A round in which the device adds all the noise to its users' updates itself."""
    return replace(task, participants=np.array([0, 1]), mechanism=OWN_NOISE)


def lay(home: DeviceHome, catalogue: Catalogue, version: int) -> None:
    """Put a version of the catalogue in place."""
    folder = home.catalogues / str(version)
    folder.mkdir(parents=True)
    catalogue.save(folder)
    versions.switch(home.catalogues, version)
