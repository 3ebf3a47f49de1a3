"""Many tensors as one flat one: an array on the wire costs some 500 bytes beside its data, whatever its size."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedrec.errors import ProtocolError

Shapes = Mapping[str, Sequence[int]]


def pack(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return all values in order of name, each tensor in C order, float32 ``[total]``.

    Raises ``ProtocolError`` naming a tensor that is not finite.
    """
    for name, tensor in sorted(tensors.items()):
        if not bool(tensor.isfinite().all()):
            raise ProtocolError(
                f"the update of tensor {name!r} is not finite: it is not sent; lower training.local.learning_rate"
            )
    flat = [tensors[name].detach().to(torch.float32).reshape(-1) for name in sorted(tensors)]
    return torch.cat(flat) if flat else torch.zeros(0)


def unpack(flat: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """Return views of ``flat`` in the given shapes; its length must be their total."""
    parts = torch.split(flat, [math.prod(shapes[name]) for name in sorted(shapes)])
    return {name: part.reshape(tuple(shapes[name])) for name, part in zip(sorted(shapes), parts, strict=True)}


def packed_length(shapes: Shapes) -> int:
    """Return the length of ``pack`` of tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())
