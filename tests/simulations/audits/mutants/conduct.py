"""Servers and devices that tell more than they say, or say it too late."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from clients.contributions import contribute, private_of
from clients.installed import model_for
from clients.store import NodeStore
from fedrec.flower.releases import Releases
from fedrec.flower.state import RunState
from fedrec.flower.wire import read_reply, write_reply
from fedrec.models.split import SharedState
from fedrec.privacy.release import release
from fedrec.rounds import TrainReply, TrainTask
from tests.simulations.audits.mutants.mutant import Mutant, replacing

CHARGE, DRAW, SETTLE, BEFORE = (
    f"fedrec.flower.releases.Releases.{name}" for name in ("charge", "draw", "settle", "before_tasks")
)

_charge, _draw, _settle = Releases.charge, Releases.draw, Releases.settle

Project = Callable[[SharedState], SharedState]


def _noisy(self: Releases, total: SharedState, round: int, label: int) -> SharedState:
    mechanism = self.mechanism(round)
    assert mechanism is not None
    return release(total, mechanism, self._randomness.noise(label))


def release_first(self: Releases, total: SharedState, round: int, project: Project = lambda mean: mean) -> SharedState:
    """Release, and write down afterwards that it will happen."""
    mean = project(_noisy(self, total, round, round))
    _charge(self, round)
    return mean


def charge_odd(self: Releases, round: int) -> None:
    """Charge every second round alone."""
    if round % 2:
        _charge(self, round)


def draw_uncharged(self: Releases, total: SharedState, round: int, project: Project = lambda mean: mean) -> SharedState:
    """Release, charged or not."""
    return _draw(self, total, round, project) if round % 2 else project(_noisy(self, total, round, round))


def settle_odd(self: Releases, round: int, mean: SharedState) -> None:
    """Write down what came of the rounds that were charged."""
    if round % 2:
        _settle(self, round, mean)


def twice(self: Releases, total: SharedState, round: int, project: Project = lambda mean: mean) -> SharedState:
    """Release a sum twice, under other noise each time, and write down one."""
    first, again = _draw(self, total, round, project), project(_noisy(self, total, round, 10_000 + round))
    return SharedState({name: (first[name] + again[name]) / 2 for name in first})


def unrecorded(self: Releases, state: RunState) -> RunState:
    """Show a model of which the ledger has no digest."""
    return state


# --- devices ------------------------------------------------------------------------------------------------------
def metrics_beside(reply: TrainReply, allowed: Mapping[str, Tensor], to: Message) -> Message:
    """Send what looks like a loss beside the sum, in a record that no ledger knows."""
    message = write_reply(reply, allowed, to)
    loss = float(sum(value.double().abs().sum() for value in reply.total.values()))
    message.content["metrics"] = MetricRecord({"loss": loss})
    return message


def setting_beside(reply: TrainReply, allowed: Mapping[str, Tensor], to: Message) -> Message:
    """Send how many of the users had anything to say, among the settings."""
    message = write_reply(reply, allowed, to)
    loss = float(sum(value.double().abs().sum() for value in reply.total.values()))
    message.content.config_records["reply"]["loss"] = loss
    return message


def lenient(message: Message, allowed: Any) -> Any:
    """Read a reply without a look at what is beside it."""
    if "reply" not in message.content:
        return read_reply(message, allowed)
    fields = {key: message.content.config_records["reply"][key] for key in ("version", "nonce", "num-users")}
    plain = RecordDict({"arrays": message.content["arrays"], "reply": ConfigRecord(fields)})
    return read_reply(Message(plain, message.metadata.src_node_id, "train"), allowed)


def with_private_row(task: TrainTask, store: NodeStore, *keep: Any) -> SharedState:
    """Put a participant's private embedding where a row of the sum belongs."""
    total = contribute(task, store, *keep)
    private = private_of(task, store, model_for(task, store)).read(np.asarray(task.participants, dtype=np.int64))
    rows = next((value for value in private.values() if value.dim() == 2 and value.shape[1] > 1), None)
    if rows is None:
        return total
    for value in total.values():
        if value.dim() == 2 and value.shape[1] == rows.shape[1] and value.dtype == rows.dtype:
            value[0] = rows[0]
            break
    return total


@contextmanager
def length_in_settings() -> Iterator[None]:
    """Let the size of a reply depend on how much its users moved."""

    def write(reply: TrainReply, allowed: Mapping[str, Tensor], to: Message) -> Message:
        moved = sum(int(torch.count_nonzero(value)) for value in reply.total.values())
        message = write_reply(reply, allowed, to)
        message.content["padding"] = ConfigRecord({"bytes": "x" * moved})
        return message

    with patch("clients.app.write_reply", write), patch("fedrec.flower.folding.read_reply", lenient):
        yield


def late_charge(task: TrainTask, store: NodeStore) -> None:
    """Charge nothing on the device's own ledger."""


MESSAGES = frozenset({"messages-allowed"})

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a ledger entry after the release",
        replacing(**{CHARGE: lambda self, round: None, DRAW: release_first}),
        frozenset({"charge-before-noise"}),
    ),
    Mutant(
        "a release without a ledger entry",
        replacing(**{CHARGE: charge_odd, DRAW: draw_uncharged, SETTLE: settle_odd}),
        frozenset({"charge-before-noise", "one-charge-per-release", "no-unledgered-release"}),
    ),
    Mutant("a sum released twice", replacing(**{DRAW: twice}), frozenset({"charge-before-noise", "noise-variance"})),
    Mutant(
        "devices asked before the charge",
        replacing(**{BEFORE: lambda self, round: None}),
        frozenset({"charge-before-noise"}),
        ("privacy.placement=device",),
    ),
    Mutant(
        "a model that the ledger does not know",
        replacing(**{"fedrec.flower.releases.Releases.recorded": unrecorded}),
        frozenset({"published-model-on-ledger"}),
    ),
    Mutant("metrics beside the ledger", replacing(**{"clients.app.write_reply": metrics_beside}), MESSAGES),
    Mutant(
        "metrics that the server reads",
        replacing(**{"clients.app.write_reply": setting_beside, "fedrec.flower.folding.read_reply": lenient}),
        MESSAGES,
    ),
    Mutant("padding that depends on data", length_in_settings, MESSAGES | {"messages-independent-of-data"}),
    Mutant(
        "a private embedding in a message",
        replacing(**{"clients.node.contribute": with_private_row}),
        frozenset({"private-stays"}),
    ),
    Mutant(
        "an answer that is made anew",
        replacing(**{"clients.outbox.Outbox.find": lambda self, nonce: None}),
        frozenset({"retry-same-bytes"}),
        ("privacy.placement=device",),
    ),
    Mutant(
        "devices that keep no account",
        replacing(**{"clients.node.charge_for": late_charge}),
        frozenset({"device-charge-before-reply"}),
    ),
)
