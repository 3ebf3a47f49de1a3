"""Id dropout: in a round, some items are seen by their content alone, by everybody.

DropoutNet (Volkovs et al., 2017, section 4.2) hides the preference vectors of random items in training, so that what
reads them learns to do with content. Here the coin is public, from run seed, round and item: all users of a round train
on the same items, a step from common weights stays common, and which ids were hidden says nothing of anybody.
"""

import numpy as np
import torch
from torch import Tensor

from fedrec.models.fusion import FusedRecommender
from fedrec.models.split import ID_KEPT, SharedState
from fedrec.training.randomness import uniforms

_STREAM = 0x1D
"""Separates the coins from other draws of the same seed."""


def kept_ids(num_items: int, rate: float, seed: int, round: int) -> Tensor:
    """Return 1 for items whose id embedding shows in the round and 0 for the others, float32 ``[num_items]``."""
    drawn = uniforms(np.array([seed], np.uint64), (round, _STREAM), num_items)[0]
    return torch.from_numpy((drawn >= rate).astype(np.float32))


def with_hidden_ids(model: FusedRecommender, shared: SharedState, seed: int, round: int) -> SharedState:
    """Return ``shared`` with the round's coins beside it, where the model drops ids; as it is where it does not."""
    if not model.drops_ids:
        return shared
    kept = kept_ids(model.num_items, model.config.id_dropout, seed, round)
    return SharedState({**shared, ID_KEPT: kept.to(next(iter(shared.values())).device)})
