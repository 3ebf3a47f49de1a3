"""Bounding after rounding: at most the clip norm, nothing lost where nothing had to be, whatever the codec does."""

from dataclasses import dataclass

import pytest
import torch

from fedrec.codecs import bounded_roundtrip, encode_bounded
from fedrec.codecs.half import Half
from fedrec.codecs.int8_rows import Int8Rows
from fedrec.models.split import SharedState


def norm(state) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in state.values()]).sum().sqrt())


def of_norm(length: float, *shape: int) -> SharedState:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return SharedState({"w": tensor * (length / float(tensor.double().norm()))})


@pytest.mark.parametrize("codec", [Half(), Int8Rows()])
def test_an_update_inside_the_bound_is_encoded_as_it_is(codec):
    update = of_norm(0.9, 40, 8)
    one, other = encode_bounded(update, codec, 1.0), codec.encode(update)
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("codec", [Half(), Int8Rows()])
def test_an_update_at_the_bound_that_rounding_lengthens_is_shrunk_a_little(codec):
    pointing_up = SharedState({"w": torch.tensor([[1.0, *[2.51 / 127] * 50]])})  # 2.51 steps round to 3
    bound = norm(pointing_up)
    if isinstance(codec, Int8Rows):
        assert norm(codec.decode(codec.encode(pointing_up), pointing_up)) > bound
    sent = bounded_roundtrip(pointing_up, codec, bound)
    assert 0.95 * bound < norm(sent) <= bound


@pytest.mark.parametrize("bound", [1e-30, 1e-8, 1e-6])
def test_where_sixteen_bits_end_the_bound_still_holds(bound):
    update = of_norm(bound, 1000)
    assert norm(bounded_roundtrip(update, Half(), bound)) <= bound


@dataclass(frozen=True)
class Stubborn(Half):
    """Decodes to something long, unless to zeros."""

    def decode(self, encoded, like):
        values = super().decode(encoded, like)
        return SharedState({name: torch.where(value != 0, 7.0, 0.0) for name, value in values.items()})


def test_where_no_shrinking_helps_nothing_is_sent():
    assert norm(bounded_roundtrip(of_norm(1.0, 5), Stubborn(), 1.0)) == 0.0


class Lengthening(Half):
    """Never decodes to less than twice the bound, unless there is nothing to decode."""

    def decode(self, encoded, like):
        found = super().decode(encoded, like)
        return SharedState(
            {name: tensor / tensor.norm() * 2 if tensor.any() else tensor for name, tensor in found.items()}
        )


def test_what_no_shrinking_brings_within_the_bound_is_sent_as_nothing():
    sent = bounded_roundtrip(of_norm(0.9, 40, 8), Lengthening(), 1.0)
    assert norm(sent) == 0.0
