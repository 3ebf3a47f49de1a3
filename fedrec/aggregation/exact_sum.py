"""The plain rule: a sum that is the same to the last bit in any order of replies, in memory that no cohort grows.

Each number is rounded to a whole multiple of a power of two. Such multiples are added in float64 without rounding as
long as there is room; what there is no room for is moved on to a second, coarser sum (pre-rounding: Demmel and Nguyen
2013, section 4). Integers are added as they are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedrec.aggregation.rule import Aggregate

COARSE = 1.5 * 2.0**40
"""Added and taken away again, it rounds to a multiple of ``2**-12``."""
FINE = 1.5 * 2.0**2
"""Rounds to a multiple of ``2**-50``, of numbers up to 2."""
LARGEST = 2.0**39
"""Sum of the sizes of the largest numbers of all replies, beyond which there is no room."""
FINE_ROOM = 4.0
"""How far fine sums may have grown before they are moved on; they are exact up to ``2**3``."""
REST = 2.0**-13
"""Largest that is left of a number whose multiple of ``2**-12`` was taken out."""
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
        self._fine = 0.0
        self._scratch = torch.empty(_BLOCK, dtype=torch.float64)
        self._second = torch.empty(_BLOCK, dtype=torch.float64)

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Add a reply; see ``Rule``."""
        sizes = [_size(total[name]) for name in self._limbs]
        if not all(size <= self._room for size in sizes):
            raise ValueError(f"the sum has room for numbers up to {self._room:g}, the reply's go up to {max(sizes):g}")
        largest = max(sizes, default=0.0)
        self._room -= largest
        grows = largest if largest <= 1 else REST
        if self._fine + grows > FINE_ROOM:
            self._move_on()
        self._fine += grows
        for name, whole in self._whole.items():
            whole += total[name]
        for name, limbs in self._limbs.items():
            if largest <= 1:
                self._add_small(limbs, total[name].reshape(-1))
            else:
                self._add_large(limbs, total[name].reshape(-1))

    def close(self) -> Aggregate:
        """Return the sum, float64 of numbers and int64 of integers."""
        return Aggregate(
            total={
                name: self._whole[name] if name in self._whole else self._limbs[name].sum(dim=0).view(shape)
                for name, shape in self._shapes.items()
            }
        )

    def _add_small(self, limbs: Tensor, numbers: Tensor) -> None:
        """Add numbers that a fine sum has room for as they are."""
        fine_sum = limbs[1]
        for start in range(0, len(numbers), _BLOCK):
            part = numbers[start : start + _BLOCK]
            fine = self._scratch[: len(part)]
            fine.copy_(part).add_(FINE).sub_(FINE)
            fine_sum[start : start + _BLOCK] += fine

    def _add_large(self, limbs: Tensor, numbers: Tensor) -> None:
        """Cut numbers into coarse multiples and what is left of them, which add up to what a fine sum would have."""
        for start in range(0, len(numbers), _BLOCK):
            part = numbers[start : start + _BLOCK]
            rest, coarse = self._scratch[: len(part)], self._second[: len(part)]
            rest.copy_(part)
            torch.add(rest, COARSE, out=coarse).sub_(COARSE)
            rest.sub_(coarse).add_(FINE).sub_(FINE)
            limbs[0, start : start + _BLOCK] += coarse
            limbs[1, start : start + _BLOCK] += rest

    def _move_on(self) -> None:
        """Move the coarse multiples of fine sums to the coarse sums, which changes neither's total."""
        for coarse_sum, fine_sum in self._limbs.values():
            for start in range(0, len(fine_sum), _BLOCK):
                fine = fine_sum[start : start + _BLOCK]
                coarse = torch.add(fine, COARSE, out=self._scratch[: len(fine)]).sub_(COARSE)
                fine -= coarse
                coarse_sum[start : start + _BLOCK] += coarse
        self._fine = REST


def _size(tensor: Tensor) -> float:
    if not tensor.numel():
        return 0.0
    low, high = tensor.aminmax()
    return max(-float(low), float(high))  # both NaN where any number is
