"""The plain sum as a rule that keeps every reply: what the others are held against."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.aggregation.kept import Kept


@dataclass(kw_only=True)
class KeptSum(Kept):
    """The plain sum, taken in order of node key: an oracle for sums that keep nothing."""

    def estimate(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the mean contribution over users."""
        return self.weighted(torch.tensor([float(self._users[key]) for key in self.keys], dtype=torch.float64)), {}
