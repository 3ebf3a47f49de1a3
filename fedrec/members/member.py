"""What a member is: built by the server from released sums, then a scorer of histories on every device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.statistics.gram import GRAM, unpacked


@dataclass(frozen=True, kw_only=True)
class Released:
    """Sums over all users as they were released.

    ``sums``: by statistic (``fedrec.statistics.collection``), float32, the released mean times
    ``population``, the number of users.
    ``noise``: standard deviation on each coordinate of the sums; 0 for exact ones.
    """

    sums: Mapping[str, Tensor]
    num_items: int
    population: int
    noise: float = 0.0

    def gram(self) -> Tensor:
        """Return the Gram matrix, float64 ``[num_items, num_items]``."""
        return unpacked(self.sums[GRAM], self.num_items, self.noise)


class Member(Protocol):
    """One member's two halves; both are pure functions of their arguments."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return its tensors, of the shapes of ``fedrec.models.members``: post-processing, which spends no privacy."""
        ...

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return scores of the whole catalogue, float32 ``[num_users, num_items]``, finite, for any history."""
        ...
