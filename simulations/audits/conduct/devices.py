"""What devices of a watched run keep to themselves, and that an answer that is asked for again is the same one."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clients.store import NodeStore
from fedrec.audit.findings import Check
from fedrec.training.private_start import initial_private
from simulations.audits.checks import judged, not_run
from simulations.audits.conduct.watch import Sent, Watch
from simulations.audits.probe import Probe
from simulations.population import node_folder

LEAST_BYTES = 8
"""Of a row that is looked for: shorter ones are found by chance."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a node's folder held when it had answered. ``secrets``: bytes of rows of private parameters."""

    reply: Sent
    charges: int
    charged: bool
    """Whether its own ledger has the round."""
    secrets: frozenset[bytes]


def look_at_devices(probe: Probe, nodes: Path, reply: Sent) -> Seen:
    """Open the folder of the node that has just answered and return what it holds."""
    folder = node_folder(nodes, reply.node - 1)
    path = folder / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    charges = [line for line in lines if line["kind"] == "charge"]
    return Seen(
        reply=reply,
        charges=len(charges),
        charged=any(line["round"] == reply.round for line in charges),
        secrets=_secrets(probe, folder) if probe.scenario.training.local.private_start == "kept" else frozenset(),
    )


def device_checks(watch: Watch, seen: Sequence[Seen]) -> Iterator[Check]:
    """Yield whether private parameters stay on devices, devices charge first, and a second answer is the first."""
    yield _private_stays(watch, seen)
    faults = [
        f"node {one.reply.node} answered round {one.reply.round} without a charge" for one in seen if not one.charged
    ]
    yield judged(
        "device-charge-before-reply",
        "Does each device write a round on its own ledger before it answers?",
        faults,
        f"All {len(seen)} answers were charged by the devices that gave them.",
        figures={"replies": len(seen)},
    )
    yield _same_again(watch, seen)


def _secrets(probe: Probe, folder: Path) -> frozenset[bytes]:
    store, scenario = NodeStore.open(folder), probe.scenario
    fresh = partial(initial_private, probe.model, local=scenario.training.local)
    users = np.arange(store.num_users, dtype=np.int64)
    private, begun = store.private_shards("audit", fresh).read(users), fresh(store.num_users)
    found: set[bytes] = set()
    for name, rows in private.items():
        found |= _telling_rows(rows, begun[name])
    return frozenset(found)


def _telling_rows(rows: Tensor, begun: Tensor) -> set[bytes]:
    """Return the bytes of rows that training has moved, as 32- and 64-bit floats, in both kinds that travel."""
    if rows.dim() < 2 or rows.shape[-1] * 4 < LEAST_BYTES:
        return set()
    flat, before = rows.reshape(-1, rows.shape[-1]), begun.reshape(-1, begun.shape[-1])
    moved = flat[(flat != before).all(dim=1)][:256]
    return {row.to(kind).numpy().tobytes() for row in moved for kind in (torch.float32, torch.float64)}


def _private_stays(watch: Watch, seen: Sequence[Seen]) -> Check:
    name, asks = "private-stays", "Do the private parameters of users stay on their devices?"
    secrets = frozenset().union(*(one.secrets for one in seen)) if seen else frozenset()
    if not secrets:
        return not_run(name, asks, "no private parameters are kept on devices between rounds")
    faults = []
    for sent in watch.messages():
        for tensor, (_, _, data) in sent.arrays.items():
            if any(secret in data for secret in secrets):
                faults.append(f"tensor {tensor!r} of a {sent.kind} of round {sent.round} holds a user's private row")
    return judged(
        name,
        asks,
        faults,
        f"None of {len(secrets)} rows of private parameters is in any of {len(watch.messages())} messages.",
        figures={"rows": len(secrets), "messages": len(watch.messages())},
        method="search for the bytes of rows that training has moved, in each tensor that was sent",
    )


def _same_again(watch: Watch, seen: Sequence[Seen]) -> Check:
    """Judge the answer that was lost on its way, and the one that the server then asked for."""
    name, asks = "retry-same-bytes", "Is an answer that is asked for again the same, byte by byte, and charged once?"
    lost = next((one for one in seen if one.reply.lost), None)
    if lost is None:
        return not_run(name, asks, "no answer was lost")
    again = [one for one in seen if one.reply.nonce == lost.reply.nonce and one is not lost]
    asked = [t for t in watch.messages("task") if (t.node, t.round) == (lost.reply.node, lost.reply.round)]
    faults = []
    if len({task.nonce for task in asked}) > 1:
        faults.append("the server asks again under another nonce")
    elif not again:
        faults.append("the node does not answer what it is asked again")
    for one in again:
        if _bytes(one.reply) != _bytes(lost.reply):
            faults.append("the second answer has other bytes than the first")
        if one.charges != lost.charges:
            faults.append(f"the second answer was charged again: {one.charges} charges after {lost.charges}")
    return judged(
        name,
        asks,
        faults,
        "The second answer, by a node that was opened anew from its disk, had the bytes of the first and no charge.",
        figures={"answers": 1.0 + len(again)},
    )


def _bytes(sent: Sent) -> object:
    return sent.arrays, {name: dict(record) for name, record in sent.content.config_records.items()}
