"""Whatever bytes or records come, a decoder answers with its own error: no crash, no hang, no large allocation.

Structure-aware: valid messages are made, and one to three things of each are put wrong; every third stays nearly right.
Seeded: a failing case names its decoder, seed and number. 100,000 cases in all, of which the quick suite tries a fifth.
"""

import hashlib
import json
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from pydantic import ValidationError
from safetensors.torch import save

from fedrec.config import LocalConfig, ModelConfig
from fedrec.envelope import Envelope
from fedrec.errors import DataError, ProtocolError, SignatureError
from fedrec.flower.enrolment import DictEnrolment
from fedrec.flower.folding import Asked, Fold
from fedrec.flower.identity import task_identity
from fedrec.flower.roster import Roster
from fedrec.flower.seals import Seals
from fedrec.flower.state import RunState
from fedrec.flower.wire import (
    RollCall,
    read_card,
    read_card_signature,
    read_refusal,
    read_reply,
    read_roll_call,
    read_task,
    roll_call_message,
    task_message,
    write_arrays,
    write_card,
    write_refusal,
    write_reply,
)
from fedrec.models.split import SharedState, state_digest, structure_digest
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, NodeCard, Refusal, RefusalReason, TrainReply, TrainTask
from fedrec.serving.package import FoldIn, ServedHead, read_arrays
from fedrec.signing.device_keys import public_pem
from fedrec.signing.documents import read_document
from fedrec.signing.manifest import Manifest, ManifestFile
from fedrec.signing.orders import Orders
from server.checkpoint import Checkpoints, read_checkpoint
from server.door.service import Joining, Leaving

pytestmark = pytest.mark.abuse

SEED = 20261123
SECONDS = 0.05
"""Of the processor, that one case may take."""
DECLARED = 64 << 10
"""Bytes that a message of these sizes may be taken to declare: all are smaller."""
WATCHED = 50
"""Every so many cases what is allocated is watched, which is slow."""

ALLOWED = SharedState({"item.bias": torch.zeros(5), "item.factors": torch.zeros(5, 4)})
NONCE = "0123456789abcdef" * 2
ODD_VALUES = (
    0, -1, 1, 2**31, 2**63 - 1, -(2**63), 1e308, float("nan"), float("inf"), "", "x", "x" * 5000, "\x00", "\u202e",
    NONCE, "a" * 64, b"", b"\x00" * 100, True, [], [0], [1, 0], [2**40], [1.5], ["a"], [b"x"], [True], "null", "{}",
    '{"a":' * 500, "1e999",
)  # fmt: skip
ODD_SHAPES = ((), (0,), (5,), (5, 4), (4, 5), (20,), (2**31,), (2**40, 2**40), (-1, 4), (1,) * 9, (5, 4, 1))
ODD_DTYPES = ("float32", "float64", "float16", "int8", "int32", "object", "O", "<U9999999", "float32; x", "", "void8")
JUNK = (b"", b"\x93NUMPY", b"PK\x03\x04", b"\x80\x04\x95", b"\x00" * 64, b"\xff" * 300)

Draw = np.random.Generator


def pick(draw: Draw, choices):
    return choices[int(draw.integers(len(choices)))]


# --- making cases -------------------------------------------------------------------------------------------------
def broken_bytes(content: bytes, draw: Draw) -> bytes:
    """Return bytes with something flipped, cut, doubled, put in or replaced."""
    own = bytearray(content)
    kind = int(draw.integers(6))
    place = int(draw.integers(len(own) + 1))
    if kind == 0 and own:
        own[min(place, len(own) - 1)] ^= 1 << int(draw.integers(8))
    elif kind == 1:
        del own[place:]
    elif kind == 2:
        own[place:place] = draw.bytes(int(draw.integers(1, 40)))
    elif kind == 3:
        own += own[place:]
    elif kind == 4:
        del own[place : place + int(draw.integers(1, 30))]
    else:
        return pick(draw, JUNK)
    return bytes(own)


def broken_config(record: ConfigRecord, draw: Draw) -> ConfigRecord:
    values = dict(record)
    if not values:
        return ConfigRecord({"x": 1})
    name = pick(draw, list(values))
    kind = int(draw.integers(5))
    if kind == 0:
        del values[name]
    elif kind == 1:
        values[pick(draw, ("num-examples", "version", "seal", "", "\u202e", "x" * 300))] = pick(draw, ODD_VALUES)
    elif kind == 2 and isinstance(values[name], str):
        text = values[name]
        place = int(draw.integers(len(text) + 1))
        values[name] = text[:place] + pick(draw, ("", "\x00", "é", "0", "}", "'", "\n")) + text[place + 1 :]
    else:
        values[name] = pick(draw, ODD_VALUES)
    try:
        return ConfigRecord(values)
    except (TypeError, ValueError, UnicodeError):  # transport carries no such value
        return record


def broken_array(array: Array, draw: Draw) -> Array:
    kind = int(draw.integers(5))
    fields = {"dtype": array.dtype, "shape": tuple(array.shape), "stype": array.stype, "data": array.data}
    if kind == 0:
        fields["shape"] = pick(draw, ODD_SHAPES)
    elif kind == 1:
        fields["dtype"] = pick(draw, ODD_DTYPES)
    elif kind == 2:
        fields["stype"] = pick(draw, ("torch.Tensor", "numpy", "", "pickle", "\x00"))
    elif kind == 3:
        fields["data"] = broken_bytes(array.data, draw)
    else:
        values = np.array(pick(draw, (np.nan, np.inf, -0.0, 1e38, 1e-45, 7.0)), dtype=np.float32)
        fields["data"] = array.data[: -values.nbytes] + values.tobytes()
    return Array(**fields)


def broken_arrays(record: ArrayRecord, draw: Draw) -> ArrayRecord:
    arrays = dict(record)
    name = pick(draw, list(arrays)) if arrays else "x"
    kind = int(draw.integers(6))
    if not arrays:
        return record
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[pick(draw, ("", "user.embedding", "x" * 500, "../../etc", "item.factors "))] = arrays[name]
    else:
        arrays[name] = broken_array(arrays[name], draw)
    return ArrayRecord(arrays)


def broken_message(message: Message, draw: Draw) -> Message:
    """Put one to three things of a message wrong, in it: it was made for this."""
    content = message.content
    for _ in range(int(draw.integers(1, 4))):
        names = list(content)
        if not names or draw.random() < 0.06:
            content.pop("x", None)  # Flower warns of what is overwritten
            content[
                pick(
                    draw,
                    (
                        "x",
                        *(
                            name
                            for name in ("task", "reply", "refusal", "card", "arrays", "envelope")
                            if name not in content
                        ),
                    ),
                )
            ] = pick(draw, (ConfigRecord({"version": 2}), ArrayRecord({}), ConfigRecord({})))
            continue
        name = pick(draw, names)
        if draw.random() < 0.06:
            del content[name]
            continue
        record = content.pop(name)
        content[name] = (broken_arrays if isinstance(record, ArrayRecord) else broken_config)(record, draw)
    return message


# --- decoders and what they are given -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Decoder:
    """``read`` may raise ``errors`` of what ``make`` returns, and nothing else. ``cases``: how many are tried."""

    name: str
    cases: int
    make: Callable[[Draw], object]
    read: Callable[[object], object]
    errors: tuple[type[Exception], ...]


def question() -> Message:
    return Message(RecordDict(), 1, MessageType.TRAIN)


DEVICE = ec.generate_private_key(ec.SECP384R1())
SIGNER = Ed25519PrivateKey.generate()
SIGNED_BY = SIGNER.public_key().public_bytes_raw().hex()
SEAL = Envelope(
    contribution="update",
    run_id="run-1",
    round=1,
    nonce=NONCE,
    model_digest="a" * 64,
    catalogue_digest="b" * 64,
    catalogue_version=1,
    policy_digest="e" * 64,
    sequence=1,
    key="node-0",
    num_users=2,
    reply_digest=state_digest(ALLOWED),
).sealed(DEVICE)
TASK = TrainTask(
    run_id="run-1",
    round=3,
    nonce=NONCE,
    contribution=Contribution.UPDATE,
    shared=ALLOWED,
    model=ModelConfig(dim=4),
    model_digest=structure_digest(ALLOWED),
    catalogue_digest="c" * 64,
    participants=np.array([0, 2, 5]),
    local=LocalConfig(seed=7),
    mechanism=Mechanism(clip_norm=1, noise_multiplier=1.5, sample_rate=0.25, population=20),
)


def replies(draw: Draw) -> Message:
    seal = SEAL if draw.random() < 0.3 else None
    reply = TrainReply(nonce=NONCE, total=ALLOWED, num_users=2, seal=seal)
    return broken_message(write_reply(reply, ALLOWED, to=question()), draw)


def fold(message: Message) -> None:
    taking = Fold(asked=[Asked(key="node-0", nonce=NONCE, num_users=2)], allowed=ALLOWED, clip_norm=1.0)
    taking.take(message)
    tally = taking.close()
    assert all(bool(tensor.isfinite().all()) for tensor in tally.total.values())
    assert max(float(tensor.norm()) for tensor in tally.total.values()) <= 2.001


def sealed_replies(draw: Draw) -> Message:
    """Half of them signed, in order, for a task and a body that are nearly right."""
    envelope = SEAL.envelope
    if draw.random() < 0.5:
        change = pick(
            draw,
            ({}, {"sequence": 2**52}, {"round": 2}, {"key": "node-9"}, {"num_users": 1}, {"reply_digest": "0" * 64}),
        )
        envelope = replace(envelope, **change)
    reply = TrainReply(nonce=NONCE, total=ALLOWED, num_users=2, seal=envelope.sealed(DEVICE))
    message = write_reply(reply, ALLOWED, to=question())
    return message if draw.random() < 0.3 else broken_message(message, draw)


def fold_sealed(message: Message) -> None:
    seals = Seals(
        enrolment=DictEnrolment({"node-0": public_pem(DEVICE)}),
        contribution="update",
        run_id="run-1",
        round=1,
        model_digest="a" * 64,
        catalogue_digest="b" * 64,
    )
    taking = Fold(asked=[Asked(key="node-0", nonce=NONCE, num_users=2)], allowed=ALLOWED, clip_norm=1.0, seals=seals)
    taking.take(message)
    tally = taking.close()
    assert all(not bool(tensor.any()) for tensor in tally.total.values())  # what is signed is zeros
    assert len(tally.usable) + sum(tally.reasons.values()) + len(tally.refused) == 1


def refusals(draw: Draw) -> Message:
    refusal = Refusal(nonce=NONCE, reason=RefusalReason.BUDGET, detail="spent")
    return broken_message(write_refusal(refusal, to=question()), draw)


def cards(draw: Draw) -> Message:
    card = NodeCard(key="node-0", num_users=3, catalogue_digest="c" * 64)
    return broken_message(write_card(card, question(), "ab" * 50), draw)


def tasks(draw: Draw) -> Message:
    return broken_message(task_message(TASK, write_arrays(ALLOWED), 1, 60.0), draw)


def roll_calls(draw: Draw) -> Message:
    call = RollCall(run_id="run-1", catalogue_digest="c" * 64, challenge=NONCE)
    return broken_message(roll_call_message(call, 1, 60.0), draw)


def broken_json(table: object, draw: Draw) -> object:
    """Return a JSON value with something in it replaced, at whatever depth."""
    if isinstance(table, dict) and table and draw.random() < 0.8:
        name = pick(draw, sorted(table))
        kind = int(draw.integers(4))
        rest = {key: value for key, value in table.items() if key != name}
        if kind == 0:
            return rest
        if kind == 1:
            return {**table, pick(draw, ("x", "", "__class__", "schema", "version")): 1}
        return {**rest, name: broken_json(table[name], draw)}
    return pick(draw, (None, 0, -1, 1.5, 10**400, "x", "x" * 5000, [], {}, [[[]]] * 50, True, "../x", "\ud800"))


def documents(draw: Draw) -> bytes:
    """Orders and manifests: damaged on the way, or signed and nonsense."""
    file = ManifestFile(sha256="a" * 64, size=3)
    manifest = Manifest(subject="model", version=3, catalogue_digest="b" * 64, files={"model.json": file})
    content = pick(draw, (ORDERS, manifest.signed(SIGNER) if draw.random() < 0.02 else MANIFEST))
    if draw.random() < 0.5:
        return broken_bytes(content, draw)
    return json.dumps(broken_json(json.loads(content), draw)).encode()


ORDERS = Orders(sequence=7, stop=True, model_version=3, reason="a test").signed(SIGNER)
MANIFEST = Manifest(
    subject="model", version=3, catalogue_digest="b" * 64, files={"model.json": ManifestFile(sha256="a" * 64, size=3)}
).signed(SIGNER)


def read_documents(content: bytes) -> None:
    for read in (
        lambda: Orders.read(content, SIGNED_BY),
        lambda: Manifest.read(content, SIGNED_BY, "model"),
        lambda: read_document("orders", content, SIGNED_BY),
    ):
        try:
            read()
        except SignatureError:
            continue


HEAD = ServedHead(
    run="run-1",
    round=2,
    catalogue_digest="c" * 64,
    num_items=5,
    settings=ModelConfig(dim=4).model_dump(mode="json"),
    fold_in=FoldIn(),
    files={"model.safetensors": "a" * 64},
).to_json()


def heads(draw: Draw) -> bytes:
    if draw.random() < 0.5:
        return broken_bytes(HEAD, draw)
    return json.dumps(broken_json(json.loads(HEAD), draw)).encode()


PACKED = save({"item.factors": torch.ones(5, 4), "item.bias": torch.ones(5)})


def packages(draw: Draw) -> bytes:
    """Arrays of a served model: damaged, or with a head that lies."""
    if draw.random() < 0.4:
        return broken_bytes(PACKED, draw)
    length = int.from_bytes(PACKED[:8], "little")
    head = json.dumps(broken_json(json.loads(PACKED[8 : 8 + length]), draw)).encode()
    return len(head).to_bytes(8, "little") + head + PACKED[8 + length :]


def read_package(content: bytes) -> None:
    """The hash is right: whoever signs models may be the one who lies."""
    PACKAGE.write_bytes(content)
    read_arrays(PACKAGE, hashlib.sha256(content).hexdigest())


BODY = json.dumps({"code": "AAAA-BBBB", "key": "node-0", "public_key": "x" * 200, "proof": "y" * 128}).encode()


def bodies(draw: Draw) -> bytes:
    if draw.random() < 0.5:
        return broken_bytes(BODY, draw)
    return json.dumps(broken_json(json.loads(BODY), draw)).encode()


def read_body(content: bytes) -> None:
    for form in (Joining, Leaving):
        try:
            form.model_validate_json(content)
        except ValidationError:
            continue


DECODERS = [
    Decoder("reply", 8_000, replies, lambda m: read_reply(m, lambda users: ALLOWED), (ProtocolError,)),
    Decoder("fold", 3_000, replies, fold, ()),
    Decoder("sealed reply", 500, sealed_replies, fold_sealed, ()),
    Decoder("refusal", 14_500, refusals, read_refusal, (ProtocolError,)),
    Decoder("card", 18_500, cards, lambda m: (read_card(m), read_card_signature(m)), (ProtocolError,)),
    Decoder("task", 4_000, tasks, read_task, (ProtocolError,)),
    Decoder("roll call", 17_000, roll_calls, read_roll_call, (ProtocolError,)),
    Decoder("orders and manifests", 10_000, documents, read_documents, ()),
    Decoder("head of a served model", 10_000, heads, ServedHead.from_json, (ValueError, KeyError, TypeError)),
    Decoder("arrays of a served model", 1_500, packages, read_package, (DataError,)),
    Decoder("body at the door", 12_500, bodies, read_body, ()),
]
CHECKPOINTS = 500
PACKAGE = Path("model.safetensors")
"""Where the arrays of a served model lie; each test has a place of its own."""


def test_there_are_100_000_cases():
    assert sum(decoder.cases for decoder in DECODERS) + CHECKPOINTS == 100_000


@pytest.mark.parametrize("share", [pytest.param(5, id="a fifth"), pytest.param(1, id="all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_a_decoder_survives_whatever_comes(decoder, share, caplog, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "model.safetensors")
    caplog.set_level("CRITICAL")
    draw = np.random.default_rng([SEED, len(decoder.name), decoder.cases])
    good, cases = 0, decoder.cases // share
    with task_identity(1):
        for number in range(cases):
            given = decoder.make(draw)
            good += _survives(
                decoder, given, f"{decoder.name}, seed {SEED}, case {number}", watched=not number % WATCHED
            )
    if decoder.errors:  # else what it refuses is seen inside
        assert 0 < good < cases


def _survives(decoder: Decoder, given: object, case: str, *, watched: bool) -> bool:
    """Return whether the decoder took it; fail the test if it did anything but take or refuse it."""
    if watched:
        tracemalloc.start()
    began = time.process_time()
    try:
        decoder.read(given)
        taken = True
    except decoder.errors:
        taken = False
    except Exception as error:  # anything else is what the test is for
        pytest.fail(f"{case}: {type(error).__name__}: {error}")
    spent = time.process_time() - began
    if watched:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 2 * DECLARED, f"{case}: {peak} bytes"
    elif spent > SECONDS:  # once may be the collector's turn: what hangs, hangs again
        assert min(_again(decoder, given) for _ in range(3)) <= SECONDS, f"{case}: {spent:.3f} s"
    return taken


def _again(decoder: Decoder, given: object) -> float:
    began = time.process_time()
    with suppress(decoder.errors):
        decoder.read(given)
    return time.process_time() - began


def test_a_checkpoint_survives_whatever_its_disk_did(tmp_path):
    state = RunState(
        run_id="run-1",
        round=1,
        roster=Roster(cards=(NodeCard(key="a", num_users=3, catalogue_digest="c" * 64),)),
        shared=ALLOWED,
        optimizer={},
    )
    Checkpoints(tmp_path, "c" * 64).save(state)
    (path,) = tmp_path.glob("round-*.safetensors")
    whole, draw = path.read_bytes(), np.random.default_rng(SEED)
    for number in range(CHECKPOINTS):
        content = broken_bytes(whole, draw)
        path.write_bytes(content)
        try:
            found, _ = read_checkpoint(path)
        except DataError:
            continue
        assert content == whole or state_digest(found.shared) == state_digest(ALLOWED), f"case {number}"
