"""What evaluation needs of a baseline."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories


class Scorer(Protocol):
    """A fitted model that scores the catalogue for users by their histories alone, known or new."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return float32 ``[num_users, num_items]``, higher is better; finite, also for an empty history."""
        ...
