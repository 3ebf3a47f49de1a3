"""What an attack on a federated recommender is: some clients, in one hand, that send what they like.

They see what the server sends to everybody. What else they know is said of each attack; the table of all is
``simulations.attacks.registry``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.histories import Histories


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What liars see of a round before they answer.

    ``rows``: the item tables side by side, float ``[num_items, width]``, as sent. ``own``: what the liars in this round
    would send if they trained on ``claims`` as honest clients do, float ``[taking_part, num_items, width]``.
    ``honest``: the sum of all others' changes of the rows, which none but an omniscient attacker knows. ``former``: the
    rows as sent in the round before; None in the first.
    """

    round: int
    rows: Tensor
    former: Tensor | None
    taking_part: int
    own: Tensor
    honest: Tensor


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What is known to an attack before the first round; each uses what its authors grant it.

    ``target``: the item to be promoted, or the first of them. ``popularity``: of the honest users' items, int64
    ``[num_items]``: side information that PipAttack is granted. ``leaked``: a hundredth of the honest users' events,
    which FedRecAttack is granted. ``bias``: column of the rows that every query has 1 in.
    """

    target: int
    num_items: int
    width: int
    bias: int | None
    liars: int
    typical_length: int
    """Events of an honest user, the median."""
    popularity: NDArray[np.int64]
    leaked: Histories
    generator: torch.Generator

    def queries(self, count: int, scale: float) -> Tensor:
        """Return made-up users' queries, normal of standard deviation ``scale``, float ``[count, width]``."""
        drawn = scale * torch.randn(count, self.width, generator=self.generator)
        if self.bias is not None:
            drawn[:, self.bias] = 1
        return drawn


class Attack(Protocol):
    """Colluding clients. One object lives for a run."""

    scaled: bool
    """Whether its changes are brought to the length that the server lets pass; else they are sent as they are."""

    def claims(self, known: Knowledge) -> Sequence[Sequence[int]]:
        """Return the history that each liar pretends to have: what its statistics are of, and what ``own`` is of."""

    def lie(self, sight: Sight) -> Sequence[Tensor] | Tensor:
        """Return the change of the rows that each liar in this round sends, each float ``[num_items, width]``."""
