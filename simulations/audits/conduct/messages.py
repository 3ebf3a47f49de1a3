"""What the messages of a watched run hold: the protocol's fields and tensors, nothing beside, whoever the users are."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from fedrec.audit.findings import Check
from fedrec.codecs import reply_codec
from fedrec.errors import ProtocolError
from fedrec.flower.templates import allowed_reply
from fedrec.flower.wire import read_task, write_arrays
from fedrec.models.split import SharedState
from fedrec.rounds import TrainTask, carried
from simulations.audits.checks import judged
from simulations.audits.conduct.watch import Kind, Sent, Watch

TEXTS = (
    *("run", "nonce", "contribution", "model", "model-digest", "catalogue-digest"),
    *("local", "mechanism", "interaction", "codec"),
)
"""Fields of a task that are text."""

RECORDS: dict[Kind, tuple[str, dict[str, type], bool]] = {
    "call": ("roll-call", {"version": int, "run": str, "catalogue-digest": str, "challenge": str}, False),
    "card": (
        "card",
        {"version": int, "key": str, "num-users": int, "catalogue-digest": str, "signature": str},
        False,
    ),
    "reply": ("reply", {"version": int, "nonce": str, "num-users": int}, True),
    "task": (
        "task",
        {
            "version": int,
            "round": int,
            "participants": list,
            **dict.fromkeys(TEXTS, str),
        },
        True,
    ),
}
"""By kind of message the protocol as this audit knows it, written down a second time: the one record of settings, its
fields and their types, and whether a record of tensors goes with it."""

ARRAYS = "arrays"
NONCES = ("nonce",)
"""Fields that are drawn anew in each run."""


def message_checks(watch: Watch, initial: SharedState, num_items: int) -> Iterator[Check]:
    """Yield whether all messages of a run are what the protocol allows. ``initial``: the model that it began with."""
    faults, tasks = [], {}
    for sent in watch.messages():
        faults += _record_faults(sent)
        if sent.kind == "task":
            task = _task(sent)
            if task is not None:
                tasks[task.nonce] = task
                faults += _tensor_faults(sent, write_arrays(carried(task.contribution, initial)))
        if sent.kind == "reply":
            faults += _reply_faults(sent, tasks.get(sent.nonce), num_items)
    yield judged(
        "messages-allowed",
        "Do messages hold the protocol's fields and tensors, and nothing beside?",
        faults,
        f"All {len(watch.messages())} messages did: no metrics, no further settings, no other tensors.",
        figures={"messages": len(watch.messages())},
        method="record kinds, names, types, dtypes and shapes beside a list of the protocol that is the audit's own",
    )


def independence_check(one: Watch, other: Watch) -> Check:
    """Return whether two runs of the same cohorts with other people differ in anything but the values of tensors.

    ``other`` may have ended earlier: what it came to is compared.
    """
    end = max((sent.round or 0 for sent in other.messages()), default=0)
    sent_by = [sent for sent in one.messages() if (sent.round or 0) <= end]
    mine, theirs = [_outline(sent) for sent in sent_by], [_outline(sent) for sent in other.messages()]
    faults = [] if len(mine) == len(theirs) else [f"{len(mine)} messages with some people, {len(theirs)} with others"]
    for sent, own, their in zip(sent_by, mine, theirs, strict=False):
        differ = sorted(key for key in own.keys() | their.keys() if own.get(key) != their.get(key))
        faults += [f"{differ[0]} of a {sent.kind} of round {sent.round} depends on people's data"] if differ else []
    return judged(
        "messages-independent-of-data",
        "Are names, settings and sizes of all messages the same whoever the users are?",
        faults,
        f"All {len(mine)} messages of two runs with other people's data had the same outline and size.",
        figures={"messages": len(mine)},
        method="the same run with other histories, of other lengths, under the same draws",
    )


def _outline(sent: Sent) -> dict[str, Any]:
    """Return all of a message that must not depend on data, by what it is called."""
    outline: dict[str, Any] = {f"record {name}": type(record).__name__ for name, record in sent.content.items()}
    for name, settings in sent.content.config_records.items():
        for key, value in settings.items():
            if key not in NONCES:
                outline[f"field {name}.{key}"] = _without_clip_norm(value) if key == "mechanism" else value
    for name, (dtype, shape, data) in sent.arrays.items():
        outline[f"tensor {name}"] = (dtype, shape, len(data))
    for name, metrics in sent.content.metric_records.items():
        outline |= {f"metric {name}.{key}": value for key, value in metrics.items()}
    return outline


def _without_clip_norm(value: Any) -> Any:
    """Leave out what an adaptive rule computes from releases: it is public, and differs with the noise."""
    table = json.loads(value) if isinstance(value, str) else None
    if not isinstance(table, dict) or not table.get("count_noise"):
        return value
    return {key: field for key, field in table.items() if key != "clip_norm"}


def _record_faults(sent: Sent) -> list[str]:
    name, fields, tensors = RECORDS[sent.kind]
    where = f"a {sent.kind} of round {sent.round}" if sent.round is not None else f"a {sent.kind}"
    if sent.kind in ("reply", "card") and set(sent.content) == {"refusal"}:
        detail = dict(sent.content.config_records["refusal"]).get("detail")
        return [f"node {sent.node} refused to take part: {detail!s}"]
    faults = [f"{where} holds metrics" for _ in sent.content.metric_records]
    due = {name, ARRAYS} if tensors else {name}
    faults += [f"{where} holds a record {odd!r}" for odd in sorted(set(sent.content) - due)]
    faults += [f"{where} lacks its record {odd!r}" for odd in sorted(due - set(sent.content))]
    values = dict(sent.content.config_records.get(name, {}))
    faults += [f"{where} has a field {odd!r}" for odd in sorted(set(values) - set(fields))]
    faults += [f"{where} has no {key!r}" for key in sorted(set(fields) - set(values))]
    faults += [
        f"field {key!r} of {where} is {type(values[key]).__name__}"
        for key, kind in fields.items()
        if key in values and type(values[key]) is not kind
    ]
    return faults


def _task(sent: Sent) -> TrainTask | None:
    try:
        return read_task(sent.message)
    except ProtocolError:  # what is odd about it is among the faults of its records
        return None


def _reply_faults(sent: Sent, task: TrainTask | None, num_items: int) -> list[str]:
    if "reply" not in sent.content.config_records:
        return []
    if task is None:
        return [f"a reply of round {sent.round} answers no task"]
    users = dict(sent.content.config_records["reply"]).get("num-users")
    if users != len(task.participants):
        return [f"a reply of round {sent.round} speaks for {users!s} users, asked were {len(task.participants)}"]
    allowed = reply_codec(task, len(task.participants)).template(allowed_reply(task, num_items))
    return _tensor_faults(sent, allowed)


def _tensor_faults(sent: Sent, due: Mapping[str, Any]) -> list[str]:
    """Return how a message's tensors differ in name, dtype or shape from what is due."""
    found = sent.arrays
    expected = {name: (_dtype(like), tuple(like.shape)) for name, like in due.items()}
    odd = sorted(name for name in set(found) | set(expected) if found.get(name, ((), ()))[:2] != expected.get(name))
    return [f"tensor {name!r} of a {sent.kind} of round {sent.round} is not what the protocol says" for name in odd]


def _dtype(like: Any) -> str:
    return str(like.dtype).removeprefix("torch.") if isinstance(like, torch.Tensor) else str(like.dtype)
