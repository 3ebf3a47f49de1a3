"""The partition into private and shared parameters."""

import pytest
import torch
from torch import nn

from fedrec.errors import ModelMismatchError
from fedrec.models.split import SplitModel, check_fits, state_digest, structure_digest


class Toy(SplitModel):
    def __init__(self, *, stray: bool = False, twice: bool = False) -> None:
        super().__init__()
        self.private = nn.Linear(2, 1)
        self.shared = nn.Linear(2, 3)
        if stray:
            self.stray = nn.Parameter(torch.zeros(1))
        if twice:
            self.shared.weight_too = self.private.weight


def test_a_parameter_in_neither_part_is_refused_by_name() -> None:
    with pytest.raises(ModelMismatchError, match="'stray'"):
        Toy(stray=True).check_split()


def test_a_parameter_in_both_parts_is_refused() -> None:
    with pytest.raises(ModelMismatchError, match="exactly one"):
        Toy(twice=True).check_split()


def test_shared_state_is_a_copy_that_holds_no_private_name() -> None:
    model = Toy()
    state = model.shared_state()
    state["weight"].add_(1.0)
    assert set(state) == {"weight", "bias"}
    assert not torch.equal(state["weight"], model.shared.weight)


def test_digests_tell_structure_from_values() -> None:
    one = {"a": torch.zeros(2), "b": torch.ones(1)}
    other = {"b": torch.ones(1), "a": torch.ones(2)}
    assert structure_digest(one) == structure_digest(other)
    assert state_digest(one) != state_digest(other)
    assert state_digest(one) == state_digest(dict(reversed(one.items())))


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ({}, "a"),
        ({"a": torch.zeros(2), "z": torch.zeros(1)}, "z"),
        ({"a": torch.zeros(3)}, "a"),
        ({"a": torch.zeros(2, dtype=torch.float64)}, "a"),
    ],
)
def test_a_state_of_another_model_is_refused_by_tensor_name(state: dict[str, torch.Tensor], name: str) -> None:
    with pytest.raises(ModelMismatchError, match=f"'{name}'"):
        check_fits(state, {"a": torch.zeros(2)}, "checkpoint")
