"""Divides simulated users among node folders, and collects their private parameters for evaluation.

The one place that sees all users at once; a deployment has no such place.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context

from clients.policy import Policy
from clients.store import NodeStore
from fedrec.config import PrivacyConfig
from fedrec.data.histories import Histories
from fedrec.models.split import PrivateState, SplitModel
from fedrec.training.cohort import initial_private

PARTITION = "partition-id"
"""Key of a simulated node's number in its configuration, which Flower's simulation runtime sets too."""


def willing(privacy: PrivacyConfig) -> Policy:
    """Return the policy of simulated users who agree to a scenario, and to nothing that would pass its budget."""
    return Policy(
        consent=True,
        allow_unprotected=True,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        min_noise_multiplier=0.0,
        max_clip_norm=max(privacy.clip_norm, 1.0),  # the popularity release clips at 1
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
) -> int:
    """Write up to ``num_nodes`` node folders with contiguous, nearly equal shares of the users; return how many.

    Node keys ascend with the users, so that a user's position in the roster is its row in ``histories`` however many
    nodes there are. ``catalogue``: the folder that all nodes share.
    """
    shares = np.array_split(np.arange(len(histories), dtype=np.int64), min(num_nodes, len(histories)))
    for number, users in enumerate(shares):
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


def read_private(folder: Path, run_id: str, model: SplitModel) -> PrivateState:
    """Return the private parameters of all users of all nodes, ``[num_users, ...]``, in the order of ``write_nodes``.

    Users of a node that has not trained in this run have initial ones. For evaluation in a simulation.
    """
    stores = [NodeStore.open(node) for node in sorted(folder.glob("node-*"))]
    parts = [store.private_state(run_id) or initial_private(model, store.num_users) for store in stores]
    return PrivateState({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
