"""Divides simulated users among node folders, and collects their private parameters for evaluation.

The one place that sees all users at once; a deployment has no such place.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context
from numpy.typing import NDArray

from clients.policy import Policy
from clients.store import NodeStore
from fedrec.config import LocalConfig, PrivacyConfig
from fedrec.config.run import DEFAULT_MEMORY_MIB
from fedrec.data.histories import Histories
from fedrec.models.split import PrivateState, SplitModel
from fedrec.training.private_start import initial_private

PARTITION = "partition-id"
"""Key of a simulated node's number in its configuration, which Flower's simulation runtime sets too."""


def willing(privacy: PrivacyConfig, population: int) -> Policy:
    """Return the policy of ``population`` simulated users who agree to a scenario and to nothing beyond its budget."""
    largest = privacy.clip_norm_bounds[1] if privacy.clipping == "adaptive" else privacy.clip_norm
    return Policy(
        consent=True,
        allow_unprotected=True,
        epsilon=privacy.epsilon,
        delta=privacy.delta_for(population),
        min_noise_multiplier=0.0,
        max_clip_norm=max(largest, 1.0),  # the popularity release clips at 1
    )


def write_nodes(
    folder: Path,
    histories: Histories,
    catalogue: Path,
    *,
    num_nodes: int,
    user_keys: Sequence[str],
    policy: Policy,
    device: str = "cpu",
    memory_mib: int = DEFAULT_MEMORY_MIB,
    first: int = 0,
) -> int:
    """Write up to ``num_nodes`` node folders with contiguous, nearly equal shares of the users; return how many.

    Node keys ascend with the users, so that a user's position in the roster is its row in ``histories`` however many
    nodes there are. ``catalogue``: the folder that all nodes share. ``memory_mib``: of each node's training.
    ``first``: number of the first node, after those that are there already.
    """
    shares = np.array_split(np.arange(len(histories), dtype=np.int64), min(num_nodes, len(histories)))
    for number, users in enumerate(shares, first):
        node = node_folder(folder, number)
        NodeStore.create(
            node,
            key=node.name,
            users=[user_keys[user] for user in users],
            histories=histories.take(users),
            catalogue=os.path.relpath(catalogue, node),
            policy=policy,
            durable=False,
            device=device,
            memory_mib=memory_mib,
        )
    return len(shares)


def node_folder(folder: Path, number: int) -> Path:
    """Return the folder of one simulated node."""
    return folder / f"node-{number:06d}"


def locate_in(folder: Path) -> Callable[[Context], Path]:
    """Return how a client app finds the folder of the simulated node that it runs for."""

    def locate(context: Context) -> Path:
        return node_folder(folder, int(context.node_config[PARTITION]))

    return locate


def private_reader(
    folder: Path, run_id: str, model: SplitModel, local: LocalConfig
) -> Callable[[NDArray[np.int64]], PrivateState]:
    """Return how to read the private parameters of ascending users, ``[len(users), ...]``, from all nodes.

    Users are counted in the order of ``write_nodes``. Those that have not trained in this run have initial ones. Only
    the shards of the asked users are read. For evaluation in a simulation.
    """
    fresh = partial(initial_private, model, local=local)
    stores = [NodeStore.open(node) for node in sorted(folder.glob("node-*"))]
    shards = [store.private_shards(run_id, fresh) for store in stores]
    begins = np.cumsum([0, *(store.num_users for store in stores)])

    def read(users: NDArray[np.int64]) -> PrivateState:
        cuts = np.searchsorted(users, begins)
        asked = np.flatnonzero(np.diff(cuts))
        parts = [shards[node].read(users[cuts[node] : cuts[node + 1]] - begins[node]) for node in asked] or [fresh(0)]
        return PrivateState({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    return read
