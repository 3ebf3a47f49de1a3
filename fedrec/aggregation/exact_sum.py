"""The plain rule: a sum that is the same to the last bit in any order of replies, in memory that no cohort grows.

Each number is cut into two whole multiples of powers of two, one coarse and one fine; such multiples are added in
float64 without rounding as long as there is room (pre-rounding: Demmel and Nguyen 2013, section 4). Integers are added
as they are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedrec.aggregation.rule import Aggregate

COARSE = 1.5 * 2.0**40
"""Added and taken away again, it rounds to a multiple of ``2**-12``."""
FINE = 1.5 * 2.0**2
"""Rounds to a multiple of ``2**-50``."""
LARGEST = 2.0**39
"""Sum of the sizes of the largest numbers of all replies, beyond which there is no room."""
MOST_REPLIES = 1 << 15
"""Fine parts are at most ``2**-13`` each, and exact up to ``2**3``."""
_BLOCK = 1 << 15


class ExactSum:
    """Sums replies; of each number what is finer than ``2**-50`` is rounded, an error of at most ``2**-51``.

    Raises ``ValueError`` for NaN, infinities and what there is no room for, before anything is added.
    """

    def __init__(self, template: Mapping[str, Tensor]) -> None:
        """``template``: tensors of the names and shapes of a reply; of integers where their dtype is one."""
        self._whole = {
            name: torch.zeros(tensor.shape, dtype=torch.int64)
            for name, tensor in template.items()
            if not tensor.is_floating_point()
        }
        self._limbs = {
            name: torch.zeros(2, tensor.numel(), dtype=torch.float64)
            for name, tensor in template.items()
            if tensor.is_floating_point()
        }
        self._shapes = {name: tensor.shape for name, tensor in template.items()}
        self._room = LARGEST
        self._replies = 0
        self._scratch = torch.empty(3, _BLOCK, dtype=torch.float64)

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Add a reply; see ``Rule``."""
        sizes = [_size(total[name]) for name in self._limbs]
        if self._replies >= MOST_REPLIES or not all(size <= self._room for size in sizes):
            raise ValueError(f"the sum has room for numbers up to {self._room:g}, the reply's go up to {max(sizes):g}")
        largest = max(sizes, default=0.0)
        self._room -= largest
        self._replies += 1
        for name, whole in self._whole.items():
            whole += total[name]
        for name, limbs in self._limbs.items():
            self._add_numbers(limbs, total[name].reshape(-1))

    def close(self) -> Aggregate:
        """Return the sum, float64 of numbers and int64 of integers."""
        return Aggregate(
            total={
                name: self._whole[name] if name in self._whole else self._limbs[name].sum(dim=0).view(shape)
                for name, shape in self._shapes.items()
            }
        )

    def _add_numbers(self, limbs: Tensor, numbers: Tensor) -> None:
        for start in range(0, len(numbers), _BLOCK):
            part = numbers[start : start + _BLOCK]
            exact, coarse, fine = self._scratch[:, : len(part)]
            exact.copy_(part)
            torch.add(exact, COARSE, out=coarse).sub_(COARSE)
            torch.sub(exact, coarse, out=fine).add_(FINE).sub_(FINE)
            limbs[0, start : start + _BLOCK] += coarse
            limbs[1, start : start + _BLOCK] += fine


def _size(tensor: Tensor) -> float:
    if not tensor.numel():
        return 0.0
    low, high = tensor.aminmax()
    return max(-float(low), float(high))  # both NaN where any number is
