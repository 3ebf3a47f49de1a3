"""Canaries in a simulation: planted beside the real users, and what their node answers.

In rounds of statistics, item solves and fusion weights they are users like any other, and act through their histories
alone. In rounds of updates a history moves its item little, while every real user's negatives push at all items; there
a canary answers as the worst user that a clip must bound: ten clip norms along a direction of its own item's row, which
the production clip, codec, noise of devices and encoding then treat as anybody's. One that takes no part answers zeros.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import Tensor

from clients.charging import charge_for
from clients.encoding import coding_each_user, encoded_total
from clients.installed import catalogue_of
from clients.store import NodeStore
from fedrec.codecs import reply_codec
from fedrec.config import Scenario
from fedrec.data.canaries import Canaries, toss, with_reserved_items
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.flower.templates import allowed_reply
from fedrec.flower.wire import read_task, write_refusal, write_reply
from fedrec.models.split import PrivateState, SharedState, trainable
from fedrec.privacy.adaptive_clipping import WITHIN, within_tensor
from fedrec.privacy.clipping import clip_factors, clip_rows, user_norms
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.release import device_part
from fedrec.rounds import Contribution, Refusal, TrainReply, TrainTask

OVER = 10.0
"""Clip norms that a canary's update has before it is clipped."""

_COINS, _DIRECTIONS = 0xC01, 0xD1E


def plant(scenario: Scenario, catalogue: Catalogue) -> tuple[Canaries, Catalogue]:
    """Return a scenario's canaries and the catalogue with their reserved items.

    Coins are the operating system's, unless the scenario seeds its noise; then its claim is void anyway.
    """
    seed = None if scenario.noise_seed is None else [scenario.noise_seed, _COINS]
    canaries = toss(catalogue.num_items, scenario.audit.canaries, np.random.default_rng(seed))
    return canaries, with_reserved_items(catalogue, len(canaries))


def with_canary_node(app: ClientApp, locate: Callable[[Context], Path], is_canary: Callable[[Path], bool]) -> ClientApp:
    """Return ``app``, but that nodes of canaries answer tasks of updates as this module says."""
    both = ClientApp()

    @both.query()
    def enrol(message: Message, context: Context) -> Message:
        return app(message, context)

    @both.train()
    def train(message: Message, context: Context) -> Message:
        folder = locate(context)
        if not is_canary(folder):
            return app(message, context)
        task = read_task(message)
        if task.contribution is not Contribution.UPDATE or task.mechanism is None or task.interaction is not None:
            return app(message, context)
        store = NodeStore.open(folder)
        reply = answer(task, store)
        if isinstance(reply, Refusal):
            return write_refusal(reply, to=message)
        decoded = allowed_reply(task, catalogue_of(store).num_items)
        return write_reply(reply, reply_codec(task, reply.num_users).template(decoded), to=message)

    return both


def answer(task: TrainTask, store: NodeStore) -> TrainReply | Refusal:
    """Return what a node of canaries sends in a round of updates, charged on its ledger like any node's."""
    written = store.outbox.find(task.nonce)
    if written is not None:
        return written
    objection = charge_for(task, store)
    if objection is not None:
        return Refusal(nonce=task.nonce, reason=objection.reason, detail=objection.detail)
    total = device_part(_parts(task, store), len(task.participants), _mechanism(task), noise_generator(None))
    reply = TrainReply(nonce=task.nonce, total=encoded_total(task, total), num_users=len(task.participants))
    store.outbox.put(reply)
    return reply


def own_table(shared: SharedState, num_items: int) -> str | None:
    """Return the shared tensor in which canaries move their items' rows: the widest with a row an item.

    None where the model trains none.
    """
    tables = {name: value for name, value in trainable(shared).items() if value.shape[:1] == (num_items,)}
    return max(sorted(tables), key=lambda name: tables[name][0].numel(), default=None)


def directions(rows: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Return the public direction of each canary in its item's row, float64 ``[m, width]``, of norm 1.

    Signs drawn for each item, so that nothing which pushes all items alike pushes along them.
    """
    drawn = np.random.default_rng(_DIRECTIONS).random((int(rows.max(initial=-1)) + 1, width)) < 0.5
    unit: NDArray[np.float64] = np.where(drawn[rows], 1.0, -1.0) / np.sqrt(width)
    return unit


def _parts(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the sums of clipped updates: all canaries' at once, or where each is encoded alone, of one at a time."""
    users, seeds = task.participants, store.user_seeds(task.local.seed)
    train = coding_each_user(task, partial(_crafted, task, catalogue_of(store).num_items))
    alone = _mechanism(task).placement == "distributed"
    for own in np.split(users, len(users)) if alone else [users]:
        yield train(PrivateState({}), store.histories().take(own), seeds[own])[0]


def _crafted(
    task: TrainTask, num_items: int, private: PrivateState, histories: Histories, seeds: NDArray[np.uint64]
) -> tuple[SharedState, PrivateState]:
    """Return the sum of the canaries' clipped updates, in the shapes of a trained one."""
    mechanism, like = _mechanism(task), trainable(task.shared)
    total = {name: torch.zeros_like(value) for name, value in like.items()}
    name = own_table(task.shared, num_items)
    taking = np.array([int(histories[user][0]) for user in range(len(histories)) if len(histories[user])], np.int64)
    if name is not None and len(taking):
        total[name][torch.from_numpy(taking)] += _bounded(taking, like[name], mechanism)  # no item is two canaries'
    if mechanism.count_noise:
        total[WITHIN] = within_tensor(0, len(taking))
    return SharedState(total), private


def _bounded(rows: NDArray[np.int64], table: Tensor, mechanism: Mechanism) -> Tensor:
    """Return what is left of the canaries' rows after the production clip, each alone in its update."""
    along = torch.from_numpy(directions(rows, table[0].numel())).to(table.dtype).reshape(-1, *table.shape[1:])
    updates = OVER * mechanism.clip_norm * along
    if mechanism.row_clip_norm is not None:
        updates = clip_rows(updates[:, None], mechanism.row_clip_norm)[:, 0]
    factors = clip_factors(user_norms({"row": updates}), mechanism.clip_norm).to(table.dtype)
    return updates * factors.reshape(-1, *[1] * (table.dim() - 1))


def _mechanism(task: TrainTask) -> Mechanism:
    if task.mechanism is None:
        raise ValueError("a task without user-level privacy has no clip norm to go beyond")
    return task.mechanism
