"""A deployed device as a node: events and waiting replies in its database, settings, policy and key in its folder.

What ``clients.node`` asks of a node's folder, answered from a ``DeviceHome``. Consent is the policy's and the one that
the owner gave on the device: whoever of the two says no is followed.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.guard.device_guard import DeviceGuard
from clients.guard.envelope import Sealer, policy_digest, read_reply_content, reply_content
from clients.installed import catalogue_of
from clients.local_store import ConsentError, LocalStore
from clients.policy import Policy
from clients.private_shards import PrivateShards
from clients.store import NodeStore
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError, DataError
from fedrec.models.split import PrivateState
from fedrec.rounds import TrainReply
from fedrec.signing.device_keys import load_device_key
from fedrec.training.randomness import user_seeds


def open_node(folder: Path) -> NodeStore:
    """Open the folder of a deployed device or of a simulated node, whichever it is."""
    return DeviceNode.open(folder) if DeviceHome(folder).settings.exists() else NodeStore.open(folder)


def sealer_of(store: NodeStore) -> Sealer | None:
    """Return what signs a node's replies: a deployed device's key; a simulated node has none."""
    return store.sealer if isinstance(store, DeviceNode) else None


class DeviceNode(NodeStore):
    """The node of one device. Opening it reads no private row; its ``local`` database is always there."""

    local: LocalStore

    def __init__(self, home: DeviceHome) -> None:
        settings = DeviceSettings.load(home.settings)
        policy = Policy.load(home.policy)
        self.home = home
        self.local = LocalStore.open(home.store)
        consent = policy.consent and self.local.consent().granted
        super().__init__(
            home.path,
            key=settings.key,
            num_users=len(self.local.user_keys()),
            catalogue=(home.catalogues / "current").resolve(),  # one version for as long as the node is open
            policy=replace(policy, consent=consent),
            durable=True,
            device=settings.training.device,
            memory_mib=settings.training.memory_mib,
        )
        self.outbox = DeviceOutbox(self.local)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a device's folder; raise ``DataError`` or ``ConfigError`` naming the file that is missing or wrong."""
        return cls(DeviceHome(folder))

    def close(self) -> None:
        """Let go of the database."""
        self.local.close()

    @cached_property
    def sealer(self) -> Sealer:
        """What signs this device's replies."""
        return Sealer(
            key=load_device_key(self.home.key),
            node_key=self.key,
            policy_digest=policy_digest(self.policy),
            catalogue_version=self.catalogue_version,
            next_sequence=self.local.next_sequence,
        )

    @cached_property
    def guard(self) -> DeviceGuard:
        """What holds this device to its ledger, its clock and its days."""
        return DeviceGuard.of(self.home, self.ledger, self.local, self.consents)

    def consents(self) -> bool:
        """Return whether policy and owner consent at this moment, both read anew."""
        with contextlib.suppress(ConfigError):
            return Policy.load(self.home.policy).consent and self.local.consent().granted
        return False

    @property
    def catalogue_version(self) -> int:
        """Version of the installed catalogue; 0 for one that came by no manifest."""
        name = self.catalogue_folder.name
        return int(name) if name.isdecimal() else 0

    def histories(self) -> Histories:
        """Return the users' latest events whose items the installed catalogue has, by their raw ids."""
        return self.local.histories(catalogue_of(self).codes)

    def user_keys(self) -> tuple[str, ...]:
        """Read the users' keys, in the order of the histories."""
        return self.local.user_keys()

    def user_seeds(self, seed: int) -> NDArray[np.uint64]:
        """Return the users' seeds in a run of this ``seed``, uint64 ``[num_users]``."""
        return user_seeds(self.user_keys(), seed)

    def private_shards(self, run_id: str, fresh: Callable[[int], PrivateState]) -> PrivateShards:
        """Return the users' private parameters in a run, which are not kept once consent was withdrawn."""
        self.home.state.mkdir(mode=0o700, exist_ok=True)
        return _WillingShards(
            self.home.state, run_id=run_id, num_users=self.num_users, fresh=fresh, durable=True, local=self.local
        )


class DeviceOutbox:
    """Waiting replies in the device's database, each the exact bytes with their seal."""

    def __init__(self, local: LocalStore) -> None:
        self._local = local

    def find(self, nonce: str) -> TrainReply | None:
        """Return the reply that was written for a nonce; None if there is none, or none that can be read."""
        found = self._local.find_reply(nonce)
        with contextlib.suppress(DataError):
            return read_reply_content(nonce, found.content) if found else None
        return None

    def put(self, reply: TrainReply) -> None:
        """Write a reply; on the disk when this returns. ``ConsentError`` if consent was withdrawn meanwhile."""
        sequence = reply.seal.envelope.sequence if reply.seal else 0
        self._local.put_reply(reply.nonce, reply_content(reply), sequence)


class _WillingShards(PrivateShards):
    """Private parameters that are written while the owner consents: what was trained before ``forget`` is not kept.

    Looked at before and after a file is written: whoever forgets in between removes the file, or is seen here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run_id: str,
        num_users: int,
        fresh: Callable[[int], PrivateState],
        durable: bool,
        local: LocalStore,
    ) -> None:
        super().__init__(folder, run_id=run_id, num_users=num_users, fresh=fresh, durable=durable)
        self._local = local
        self._begun = local.times_forgotten()

    def put(self, users: NDArray[np.int64], rows: PrivateState) -> None:
        self._check()
        super().put(users, rows)
        self._check()

    def commit(self, *, noised: bool = False) -> None:
        self._check()
        super().commit(noised=noised)
        self._check()

    def _check(self) -> None:
        if self._local.times_forgotten() != self._begun:
            self.remove()
        elif self._local.consent().granted:
            return
        else:
            self.discard()
        raise ConsentError("the owner withdrew consent while this device trained: nothing of it is kept")
