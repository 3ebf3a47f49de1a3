"""What may come in place of an update: each bad one is set aside with a code, the round goes on, nothing raises."""

import io
import itertools
import math
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from fedrec.flower.folding import Asked, Fold
from fedrec.flower.wire import ARRAYS, REPLY, write_reply
from fedrec.models.split import SharedState
from fedrec.rounds import TrainReply

ALLOWED = SharedState({"a": torch.zeros(3), "b": torch.zeros(2, 2)})
NONCES = [f"{number:032x}" for number in range(6)]
CLIP = 2.0

pytestmark = pytest.mark.abuse


def fresh(clip_norm: float | None = CLIP) -> Fold:
    asked = [Asked(key=f"node-{i}", nonce=nonce, num_users=1) for i, nonce in enumerate(NONCES)]
    return Fold(asked=asked, allowed=ALLOWED, clip_norm=clip_norm)


def honest(position: int, scale: float = 0.1) -> SharedState:
    generator = torch.Generator().manual_seed(position)
    return SharedState({name: scale * torch.randn(t.shape, generator=generator) for name, t in ALLOWED.items()})


def message(position: int, total: SharedState | None = None) -> Message:
    total = honest(position) if total is None else total
    value = TrainReply(nonce=NONCES[position], total=total, num_users=1)
    return write_reply(value, total, to=Message(RecordDict(), 1, MessageType.TRAIN))


def with_arrays(change) -> Message:
    """The message of node 1 after ``change`` of its arrays, which were of its own making."""
    sent = message(1)
    arrays = dict(sent.content[ARRAYS])
    change(arrays)
    sent.content[ARRAYS] = ArrayRecord(arrays)
    return sent


def tally_of(bad: Message, clip_norm: float | None = CLIP):
    fold = fresh(clip_norm)
    for sent in (message(0), bad, message(2)):
        fold.take(sent)
    return fold.close()


def filled(value: float) -> SharedState:
    return SharedState({name: torch.full_like(tensor, value) for name, tensor in ALLOWED.items()})


HONEST = {name: honest(0)[name].double() + honest(2)[name].double() for name in ALLOWED}


@pytest.mark.parametrize("clip_norm", [CLIP, None])
@pytest.mark.parametrize(
    ("value", "reason"),
    [(math.nan, "not-finite"), (math.inf, "not-finite"), (-math.inf, "not-finite"), (1e38, "above-bound")],
)
def test_d45_what_is_not_finite_or_out_of_all_bounds_is_quarantined_and_the_aggregate_is_finite(
    value, reason, clip_norm
):
    tally = tally_of(message(1, filled(value)), clip_norm)
    assert tally.reasons == {reason: 1}
    assert all(torch.equal(tally.total[name], HONEST[name]) for name in ALLOWED)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-42, -1e-45])
def test_d45_zeros_of_either_sign_and_denormals_count_as_what_they_are(value):
    tally = tally_of(message(1, filled(value)))
    assert tally.usable == ("node-0", "node-1", "node-2")
    assert all(torch.equal(tally.total[name], HONEST[name]) for name in ALLOWED)


def npy(array: np.ndarray, *, version: tuple[int, int] = (1, 0), fortran: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asfortranarray(array) if fortran else array, version=version)
    return buffer.getvalue()


def declared(
    data: bytes, dtype: str = "float32", shape: tuple[int, ...] = (2, 2), stype: str = "numpy.ndarray"
) -> Array:
    return Array(dtype=dtype, shape=shape, stype=stype, data=data)


VALUES = np.arange(4, dtype=np.float32).reshape(2, 2)
ODD_ARRAYS = {
    "another shape": lambda: declared(npy(VALUES.reshape(4)), shape=(4,)),
    "another rank": lambda: declared(npy(VALUES.reshape(2, 2, 1)), shape=(2, 2, 1)),
    "no dimension": lambda: declared(npy(np.float32(1)), shape=()),
    "a million dimensions": lambda: declared(npy(VALUES), shape=(1,) * 1_000_000),
    "float64": lambda: declared(npy(VALUES.astype(np.float64)), dtype="float64"),
    "declared as float32, of float64": lambda: declared(npy(VALUES.astype(np.float64))),
    "complex": lambda: declared(npy(VALUES.astype(np.complex64)), dtype="complex64"),
    "of bytes in another order": lambda: declared(npy(VALUES.astype(">f4"))),
    "in Fortran order": lambda: declared(npy(VALUES, fortran=True)),
    "of another npy version": lambda: declared(npy(VALUES, version=(2, 0))),
    "declared as torch": lambda: declared(npy(VALUES), stype="torch.Tensor"),
    "of an unknown dtype": lambda: declared(npy(VALUES), dtype="object; import os"),
    "a negative length": lambda: declared(npy(VALUES), shape=(-2, -2)),
}


@pytest.mark.parametrize("array", ODD_ARRAYS.values(), ids=ODD_ARRAYS.keys())
def test_d46_an_array_of_another_kind_than_asked_is_quarantined(array):
    tally = tally_of(with_arrays(lambda arrays: arrays.update(b=array())))
    assert tally.reasons == {"malformed": 1}
    assert all(torch.equal(tally.total[name], HONEST[name]) for name in ALLOWED)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("a"),
        lambda arrays: arrays.update(c=arrays["a"]),
        lambda arrays: arrays.update({"a\ud800": arrays.pop("a")}),
        lambda arrays: arrays.update({"": arrays["a"]}),
        lambda arrays: arrays.update({f"tensor-{n}": arrays["a"] for n in range(20_000)}),
    ],
    ids=["missing", "surplus", "a name that is no text", "an empty name", "twenty thousand tensors"],
)
def test_d46_tensors_of_other_names_are_quarantined(change):
    assert tally_of(with_arrays(change)).reasons == {"malformed": 1}


class Canary:
    """Unpickled, it would say so."""

    touched = False

    def __reduce__(self):
        return (setattr, (Canary, "touched", True))


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, b=np.zeros(1_000_000, dtype=np.float32))
    return buffer.getvalue()


def huge() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8589934592,), }"
    header += b" " * (118 - 1 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


ODD_BYTES = {
    "npz": npz,
    "a pickled object": lambda: pickle.dumps(Canary()),
    "an array of objects": lambda: npy(np.array([[Canary(), 1], [2, 3]], dtype=object)),
    "a header that claims 32 GiB": huge,
    "cut short": lambda: npy(VALUES)[:-1],
    "a byte too long": lambda: npy(VALUES) + b"\0",
    "nothing": lambda: b"",
    "a header alone": lambda: npy(VALUES)[:-16],
}


@pytest.mark.parametrize("content", ODD_BYTES.values(), ids=ODD_BYTES.keys())
def test_d47_bytes_that_are_no_such_array_are_refused_before_anything_is_allocated_or_unpickled(content):
    bad = with_arrays(lambda arrays: arrays.update(b=declared(content())))
    fold = fresh()
    fold.take(message(0))
    tracemalloc.start()
    fold.take(bad)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fold.close().reasons == {"malformed": 1}
    assert not Canary.touched
    assert peak < 200_000


def test_d47_the_canary_would_tell():
    pickle.loads(pickle.dumps(Canary()))
    assert Canary.touched
    Canary.touched = False


@pytest.mark.parametrize("value", [0, -1, 2, 10**12, math.nan, "1", [1], [1, 1], True], ids=repr)
def test_d48_what_a_reply_says_that_it_weighs_is_held_against_what_was_asked(value):
    bad = message(1)
    bad.content[REPLY] = ConfigRecord({**bad.content[REPLY], "num-users": value})
    tally = tally_of(bad)
    assert sum(tally.reasons.values()) == 1
    assert set(tally.reasons) <= {"malformed", "other-users"}
    assert tally.num_users == 2


def test_d48_a_weight_of_flower_s_own_is_no_field_of_a_reply():
    bad = message(1)
    bad.content[REPLY] = ConfigRecord({**bad.content[REPLY], "num-examples": 10**12})
    assert tally_of(bad).reasons == {"malformed": 1}


def test_d50_a_reply_beyond_its_bound_has_no_influence_and_one_at_it_no_more_than_the_clip_norm():
    clean = tally_of(message(1, filled(0.0)))
    loud = filled(1.0)
    norm = math.sqrt(sum(float(tensor.norm()) ** 2 for tensor in loud.values()))
    beyond = SharedState({name: tensor * (100 * CLIP / norm) for name, tensor in loud.items()})
    at_it = SharedState({name: tensor * (CLIP / norm) for name, tensor in loud.items()})
    assert tally_of(message(1, beyond)).reasons == {"above-bound": 1}
    moved = tally_of(message(1, at_it))
    shift = math.sqrt(sum(float((moved.total[n] - clean.total[n]).norm()) ** 2 for n in ALLOWED))
    assert shift / moved.num_users == pytest.approx(CLIP / 3, rel=1e-5)


def test_a_bad_reply_costs_less_than_50_ms_of_the_processor():
    """Of several tries the cheapest counts, so that nothing but the work itself is judged. Flower's own reading of the
    message comes before and is not in it."""
    makers = [*ODD_ARRAYS.values(), *(lambda c=c: declared(c()) for c in ODD_BYTES.values())]
    bad = [with_arrays(lambda arrays, make=make: arrays.update(b=make())) for make in makers]
    bad.append(with_arrays(lambda arrays: arrays.update({f"tensor-{n}": arrays["a"] for n in range(20_000)})))
    for sent in bad:
        assert min(_seconds(sent) for _ in itertools.repeat(None, 3)) < 0.05


def _seconds(sent: Message) -> float:
    fold = fresh()
    began = time.process_time()
    fold.take(sent)
    return time.process_time() - began
