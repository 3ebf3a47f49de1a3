"""Protocol values to and from Flower messages: the only place that builds what is sent.

A message holds one ``ConfigRecord`` of named scalars and, where tensors travel, one ``ArrayRecord`` named ``arrays``.
Nothing is pickled. Parsing is strict: a missing, surplus or odd field raises ``ProtocolError`` with its name. A reply
is checked against the tensors that its task allows before it is built, so that private state cannot be sent. Replies
are carried under their codec as they are; who encodes and decodes is ``clients.encoding`` and the fold.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, ConfigRecordValues, Message, MessageType, RecordDict
from numpy.typing import NDArray
from torch import Tensor

from fedrec.config import CodecConfig, InteractionConfig, LocalConfig, ModelConfig
from fedrec.envelope import DIGEST, NAME, NONCE, SIGNATURE, Seal
from fedrec.errors import ModelMismatchError, ProtocolError, UpgradeRequiredError
from fedrec.flower.fields import (
    MAX_TEXT,
    VERSION,
    count,
    fields_of,
    holds,
    match,
    printable,
    records_of,
    section_of,
)
from fedrec.models.split import SharedState, check_fits
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, EncodedUpdate, NodeCard, Refusal, RefusalReason, TrainReply, TrainTask

RANKS = "ranks"
"""The one tensor of a reply of ranks."""

ARRAYS, TASK, REPLY, REFUSAL, ROLL_CALL, CARD = "arrays", "task", "reply", "refusal", "roll-call", "card"
"""Names of records in messages."""

ENVELOPE = "envelope"
"""Record of the seal of a reply, beside it."""

_TASK_FIELDS: dict[str, type] = {
    "version": int,
    "run": str,
    "round": int,
    "nonce": str,
    "contribution": str,
    "model": str,
    "model-digest": str,
    "catalogue-digest": str,
    "participants": list,
    "local": str,
    "mechanism": str,
    "interaction": str,
    "codec": str,
}
_REPLY_FIELDS: dict[str, type] = {"version": int, "nonce": str, "num-users": int}
_REFUSAL_FIELDS: dict[str, type] = {"version": int, "nonce": str, "reason": str, "detail": str}
_ROLL_CALL_FIELDS: dict[str, type] = {"version": int, "run": str, "catalogue-digest": str, "challenge": str}
_CARD_FIELDS: dict[str, type] = {
    "version": int,
    "key": str,
    "num-users": int,
    "catalogue-digest": str,
    "signature": str,
}

_MODEL_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_DTYPES = {**_MODEL_DTYPES, "float16": torch.float16, "int8": torch.int8, "int32": torch.int32}
"""The last three only in replies, and only where the codec's template has them, or shares of noise are on integers."""
_NPY = "numpy.ndarray"
_MAX_DIMS = 8
_NO_CHALLENGE = "0" * 32


@dataclass(frozen=True, kw_only=True)
class RollCall:
    """The server's question who a node is, with the catalogue that the run uses."""

    run_id: str
    catalogue_digest: str
    challenge: str = _NO_CHALLENGE
    """What the node's signature on its card is over: 32 hex digits, fresh where there is a list of enrolled devices."""


# --- the task -----------------------------------------------------------------------------------------------------
def task_message(task: TrainTask, arrays: ArrayRecord, node_id: int, time_to_live: float) -> Message:
    """Return the message that asks a node to train.

    ``arrays`` is ``write_arrays(task.shared)``, built once a round for all its messages. ``time_to_live`` in seconds.
    """
    values: dict[str, ConfigRecordValues] = {
        "version": VERSION,
        "run": task.run_id,
        "round": task.round,
        "nonce": task.nonce,
        "contribution": task.contribution.value,
        "model": task.model.model_dump_json(),
        "model-digest": task.model_digest,
        "catalogue-digest": task.catalogue_digest,
        "participants": task.participants.tolist(),
        "local": task.local.model_dump_json(),
        "mechanism": json.dumps(task.mechanism.to_fields()) if task.mechanism else "null",
        "interaction": task.interaction.model_dump_json() if task.interaction else "null",
        "codec": task.codec.model_dump_json(),
    }
    content = RecordDict({ARRAYS: arrays, TASK: ConfigRecord(values)})
    return Message(content, node_id, MessageType.TRAIN, ttl=time_to_live, group_id=str(task.round))


def read_task(message: Message) -> TrainTask:
    """Return the task of a message; raise ``ProtocolError`` naming the field that is missing, surplus or wrong."""
    records = records_of(message, {ARRAYS: ArrayRecord, TASK: ConfigRecord})
    values = fields_of(records[TASK], _TASK_FIELDS, TASK)
    return TrainTask(
        run_id=match(values, "run", NAME),
        round=count(values, "round"),
        nonce=match(values, "nonce", NONCE),
        contribution=_contribution(values["contribution"]),
        shared=read_shared(records[ARRAYS]),
        model=section_of(ModelConfig, values, "model"),
        model_digest=match(values, "model-digest", DIGEST),
        catalogue_digest=match(values, "catalogue-digest", DIGEST),
        participants=_positions(values["participants"]),
        local=section_of(LocalConfig, values, "local"),
        mechanism=_mechanism(values["mechanism"]),
        interaction=None if values["interaction"] == "null" else section_of(InteractionConfig, values, "interaction"),
        codec=section_of(CodecConfig, values, "codec"),
    )


# --- the answer ---------------------------------------------------------------------------------------------------
def write_reply(reply: TrainReply, allowed: Mapping[str, Tensor], to: Message) -> Message:
    """Return the message that answers ``to``.

    ``allowed``: the template of the reply's codec. Raises ``ProtocolError`` unless the tensors are exactly of its
    names, shapes and dtypes: by this a private tensor, or one of a private tensor's shape, stays on the device.
    """
    try:
        check_fits(reply.total, allowed, "the reply")
    except ModelMismatchError as error:
        raise ProtocolError(f"refusing to send: {error}") from error
    values: dict[str, ConfigRecordValues] = {"version": VERSION, "nonce": reply.nonce, "num-users": reply.num_users}
    content = RecordDict({ARRAYS: write_arrays(reply.total), REPLY: ConfigRecord(values)})
    if reply.seal is not None:
        content[ENVELOPE] = ConfigRecord({_dashed(name): value for name, value in reply.seal.to_fields().items()})
    return Message(content, reply_to=to)


def write_refusal(refusal: Refusal, to: Message) -> Message:
    """Return the message by which a node says no to ``to``."""
    values: dict[str, ConfigRecordValues] = {
        "version": VERSION,
        "nonce": refusal.nonce,
        "reason": refusal.reason.value,
        "detail": refusal.detail[:MAX_TEXT],
    }
    return Message(RecordDict({REFUSAL: ConfigRecord(values)}), reply_to=to)


def refusal_of(message: Message, error: ProtocolError) -> Refusal:
    """Return a node's answer to a message that it cannot read, with the task's nonce if that at least can be read."""
    reason = RefusalReason.UPGRADE if isinstance(error, UpgradeRequiredError) else RefusalReason.PROTOCOL
    return Refusal(nonce=nonce_of(message), reason=reason, detail=str(error))


def nonce_of(message: Message) -> str:
    """Return the nonce of a task or of an answer that is otherwise odd, or of another version; empty if it has none."""
    for name in (TASK, REPLY, REFUSAL):
        record = message.content.get(name) if message.has_content() else None
        nonce = record.get("nonce") if isinstance(record, ConfigRecord) else None
        if isinstance(nonce, str) and NONCE.fullmatch(nonce):
            return nonce
    return ""


def read_reply(message: Message, allowed: Callable[[int], Mapping[str, Tensor]]) -> TrainReply | Refusal:
    """Return what a node answered; raise ``ProtocolError`` naming what is wrong. Values may still be NaN or huge.

    ``allowed``: the template of the codec of a reply that speaks for so many users.
    """
    if holds(message, REFUSAL):
        return read_refusal(message)
    expected: dict[str, type] = {ARRAYS: ArrayRecord, REPLY: ConfigRecord}
    sealed = holds(message, ENVELOPE)
    records = records_of(message, {**expected, ENVELOPE: ConfigRecord} if sealed else expected)
    values = fields_of(records[REPLY], _REPLY_FIELDS, REPLY)
    seal = _seal(records[ENVELOPE]) if sealed else None
    nonce, num_users = match(values, "nonce", NONCE), count(values, "num-users")
    _check_declared(records[ARRAYS], allowed(num_users))
    total = EncodedUpdate(read_arrays(records[ARRAYS], _DTYPES))
    return TrainReply(nonce=nonce, total=total, num_users=num_users, seal=seal)


def _seal(record: ConfigRecord) -> Seal:
    """Return a reply's seal, as it says; nothing of it is verified here."""
    fields = {name.replace("-", "_"): value for name, value in record.items()}
    try:
        if any("_" in name for name in record):
            raise ValueError("names of fields have dashes")
        return Seal.from_fields(fields)
    except ValueError as error:
        raise ProtocolError(f"record {ENVELOPE!r} is malformed: {printable(str(error))}") from error


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def read_refusal(message: Message) -> Refusal:
    """Return a node's no. Its ``detail`` is text from outside: shown to people, never acted upon.

    A refusal has the same fields in all versions of the messages. One of another version has one reason: the version.
    """
    record = records_of(message, {REFUSAL: ConfigRecord})[REFUSAL]
    version = record.get("version")
    other = type(version) is int and version != VERSION
    values = fields_of(ConfigRecord({**record, "version": VERSION}) if other else record, _REFUSAL_FIELDS, REFUSAL)
    if values["nonce"]:
        match(values, "nonce", NONCE)
    if other:
        detail = f"the node speaks version {version} of the messages, this server {VERSION}: upgrade fedrec on the "
        return Refusal(
            nonce=values["nonce"],
            reason=RefusalReason.UPGRADE,
            detail=detail + ("node" if int(str(version)) < VERSION else "server"),
        )
    try:
        reason = RefusalReason(values["reason"])
    except ValueError as error:
        raise ProtocolError(f"field 'reason' is {values['reason'][:40]!r}, which is no reason for a refusal") from error
    return Refusal(nonce=values["nonce"], reason=reason, detail=printable(values["detail"]))


# --- enrolment ----------------------------------------------------------------------------------------------------
def roll_call_message(call: RollCall, node_id: int, time_to_live: float) -> Message:
    """Return the message that asks a node for its card."""
    values: dict[str, ConfigRecordValues] = {
        "version": VERSION,
        "run": call.run_id,
        "catalogue-digest": call.catalogue_digest,
        "challenge": call.challenge,
    }
    return Message(RecordDict({ROLL_CALL: ConfigRecord(values)}), node_id, MessageType.QUERY, ttl=time_to_live)


def read_roll_call(message: Message) -> RollCall:
    """Return the question of a message; raise ``ProtocolError`` naming the field that is wrong."""
    values = fields_of(records_of(message, {ROLL_CALL: ConfigRecord})[ROLL_CALL], _ROLL_CALL_FIELDS, ROLL_CALL)
    return RollCall(
        run_id=match(values, "run", NAME),
        catalogue_digest=match(values, "catalogue-digest", DIGEST),
        challenge=match(values, "challenge", NONCE),
    )


def write_card(card: NodeCard, to: Message, signature: str = "") -> Message:
    """Return the message by which a node enrols. ``signature``: of its card over the roll call's challenge, if any."""
    values: dict[str, ConfigRecordValues] = {
        "version": VERSION,
        "key": card.key,
        "num-users": card.num_users,
        "catalogue-digest": card.catalogue_digest,
        "signature": signature,
    }
    return Message(RecordDict({CARD: ConfigRecord(values)}), reply_to=to)


def read_card(message: Message) -> NodeCard | Refusal:
    """Return what a node says of itself, or its refusal to; raise ``ProtocolError`` naming the field that is wrong."""
    if holds(message, REFUSAL):
        return read_refusal(message)
    values = _card_values(message)
    return NodeCard(
        key=match(values, "key", NAME),
        num_users=count(values, "num-users"),
        catalogue_digest=match(values, "catalogue-digest", DIGEST),
    )


def read_card_signature(message: Message) -> str:
    """Return the signature beside a card, which nobody has verified yet; empty where the node gave none."""
    values = _card_values(message)
    return match(values, "signature", SIGNATURE) if values["signature"] else ""


def _card_values(message: Message) -> dict[str, Any]:
    return fields_of(records_of(message, {CARD: ConfigRecord})[CARD], _CARD_FIELDS, CARD)


# --- tensors ------------------------------------------------------------------------------------------------------
def write_arrays(state: SharedState | EncodedUpdate) -> ArrayRecord:
    """Return tensors that may be sent as a record, in order of name."""
    return ArrayRecord({name: Array(state[name].detach().cpu().contiguous().numpy()) for name in sorted(state)})


def read_shared(record: ArrayRecord) -> SharedState:
    """Return a record's shared parameters, as ``read_arrays`` does."""
    return SharedState(read_arrays(record, _MODEL_DTYPES))


def read_arrays(record: ArrayRecord, dtypes: Mapping[str, torch.dtype]) -> dict[str, Tensor]:
    """Return a record's tensors, each with memory of its own; raise ``ProtocolError`` naming a malformed one.

    ``dtypes``: those that are read, by the name that an array declares.
    """
    return {name: _tensor(name, array, dtypes) for name, array in record.items()}


def _check_declared(record: ArrayRecord, allowed: Mapping[str, Tensor]) -> None:
    """Compare names and declared shapes before a byte is parsed, so that a flood of tensors costs nothing."""
    if len(record) > 2 * len(allowed) + 1:
        raise ProtocolError(f"the record has {len(record)} tensors, the task has {len(allowed)}")
    surplus, missing = sorted(set(record) - set(allowed)), sorted(set(allowed) - set(record))
    if surplus or missing:
        raise ProtocolError(f"tensor {printable((surplus or missing)[0])!r} is {'surplus' if surplus else 'missing'}")
    for name, tensor in allowed.items():
        array = record[name]
        if tuple(array.shape) != tuple(tensor.shape) or _DTYPES.get(array.dtype) != tensor.dtype:
            raise ProtocolError(
                f"tensor {name!r} is {_shape_words(array.shape)} {printable(array.dtype)}, "
                f"the task has {tuple(tensor.shape)} {tensor.dtype}"
            )


def _shape_words(shape: Sequence[int]) -> str:
    """Return a declared shape for a message, which is as long as whoever declared it likes."""
    return str(tuple(shape)) if len(shape) <= _MAX_DIMS else f"of {len(shape)} dimensions"


def _tensor(name: str, array: Array, dtypes: Mapping[str, torch.dtype]) -> Tensor:
    """Read ``.npy`` bytes without parsing them: their header must be the one that numpy writes for what is declared."""
    shape = tuple(array.shape)
    if array.stype != _NPY or array.dtype not in dtypes:
        declared, known = printable(f"{array.dtype} as {array.stype}"), " or ".join(dtypes)
        raise ProtocolError(f"tensor {printable(name)!r} must be {known} as {_NPY}, it is {declared}")
    header = _npy_header(shape, array.dtype)
    size = math.prod(shape) * np.dtype(array.dtype).itemsize
    if not array.data.startswith(header) or len(array.data) != len(header) + size:
        raise ProtocolError(
            f"the bytes of tensor {printable(name)!r} are not a C-ordered {shape} {array.dtype} in .npy"
        )
    if size == 0:
        return torch.empty(shape, dtype=dtypes[array.dtype])
    own = bytearray(memoryview(array.data)[len(header) :])
    return torch.frombuffer(own, dtype=dtypes[array.dtype]).reshape(shape)


@lru_cache(maxsize=256)
def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    if len(shape) > _MAX_DIMS or not all(0 <= length < 2**40 for length in shape):
        raise ProtocolError(
            f"a tensor's shape must have at most {_MAX_DIMS} lengths from 0 up, got {shape[:_MAX_DIMS]}"
        )
    buffer = BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


# --- fields of a task ---------------------------------------------------------------------------------------------
def _positions(values: list[Any]) -> NDArray[np.int64]:
    """Return participants' positions; they must be whole, ascending, distinct, and at least one."""
    if not values or any(type(value) is not int for value in values) or not 0 <= values[0] <= values[-1] < 2**31:
        raise ProtocolError("field 'participants' must list positions of users, at least one")
    positions = np.asarray(values, dtype=np.int64)
    if np.any(np.diff(positions) <= 0):
        raise ProtocolError("field 'participants' must list distinct positions in ascending order")
    return positions


def _contribution(text: str) -> Contribution:
    try:
        return Contribution(text)
    except ValueError as error:
        known = ", ".join(Contribution)
        raise ProtocolError(f"field 'contribution' must be one of {known}, got {printable(text)!r}") from error


def _mechanism(text: str) -> Mechanism | None:
    try:
        table = json.loads(text)
        return None if table is None else Mechanism.from_fields(table)
    except (ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"field 'mechanism' is not a mechanism: {printable(str(error))}") from error
