"""Packing: one flat tensor in order of name, and back."""

import pytest
import torch

from fedrec.codecs.packing import pack, packed_length, unpack
from fedrec.errors import ProtocolError

STATE = {
    "b": torch.tensor([[3.0, 4.0]]),
    "a": torch.tensor([1.0, 2.0]).double(),
    "c": torch.zeros(0),
    "d": torch.ones(()),
}
SHAPES = {name: tuple(tensor.shape) for name, tensor in STATE.items()}


def test_values_follow_in_order_of_name():
    packed = pack(STATE)
    assert packed.tolist() == [1, 2, 3, 4, 1]
    assert packed.dtype == torch.float32
    assert packed_length(SHAPES) == 5


def test_unpacking_gives_the_shapes_back():
    parts = unpack(pack(STATE), SHAPES)
    assert {name: part.tolist() for name, part in parts.items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()
    }


def test_a_transposed_tensor_is_packed_in_c_order():
    assert pack({"w": torch.arange(4.0).reshape(2, 2).T}).tolist() == [0, 2, 1, 3]


def test_nothing_packs_to_nothing():
    assert unpack(pack({}), {}) == {}


def test_a_tensor_that_is_not_finite_is_named():
    with pytest.raises(ProtocolError, match="tensor 'a' is not finite"):
        pack({"b": torch.ones(1), "a": torch.tensor([float("nan")])})
