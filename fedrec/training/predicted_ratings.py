"""What users would rate items, on the device that holds their histories."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from fedrec.data.histories import Histories
from fedrec.models.fusion import NUM_DROPOUT_MASKS, FusedRecommender, Queries, scores
from fedrec.models.split import PrivateState, SharedState
from fedrec.training.cohort import device_of, on_device
from fedrec.training.examples import recent_events
from fedrec.training.optimizers import parameters_of

CHUNK_USERS = 512


def predict_ratings(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories, pairs: Histories
) -> NDArray[np.float32]:
    """Return the rating of each item of ``pairs`` by its user after the user's latest event, float32 ``[num_pairs]``.

    ``pairs``: items that the same users as those of ``histories`` are asked about; ratings come in their order. On the
    model's rating scale, not clipped to it. By the rating head; without one by the fused score, which is a rating where
    the model was trained by ``loss = mse``.
    """
    here = SharedState(on_device(shared, device_of(model)))
    found = [np.empty(0, np.float32)]
    for start in range(0, len(histories), CHUNK_USERS):
        users = np.arange(start, min(start + CHUNK_USERS, len(histories)), dtype=np.int64)
        own = PrivateState({name: value[users] for name, value in private.items()})
        asked = pairs.take(users)
        ratings = _ratings(model, here, own, histories.take(users))
        found.append(ratings[np.repeat(np.arange(len(users)), asked.lengths), asked.items])
    return np.concatenate(found)


def _ratings(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> NDArray[np.float32]:
    """Return the ratings of the whole catalogue, float32 ``[U, num_items]``."""
    device = device_of(model)
    recent = recent_events(histories, model.config.history_length, device)
    keep = torch.ones(len(histories), NUM_DROPOUT_MASKS, model.config.dim, device=device)
    state = {f"shared.{name}": value for name, value in shared.items()}
    state |= {f"private.{name}": value for name, value in on_device(parameters_of(private), device).items()}
    with torch.no_grad():
        asked, tables = functional_call(model, state, (recent.history, recent.mask, keep))
        if asked.rating is None:
            found = scores(_latest(asked.fused(), recent.last), tables)[:, 0]
        else:
            low, high = model.config.rating_scale
            offsets = scores(_latest(asked.rating.queries, recent.last), tables)[:, 0] + asked.rating.level
            found = (low + high) / 2 + (high - low) / 2 * offsets
    ratings: NDArray[np.float32] = found.cpu().numpy()
    return ratings


def _latest(queries: Queries, last: Tensor) -> Queries:
    users = torch.arange(len(last), device=last.device)
    return {name: query if query.shape[1] == 1 else query[users, last][:, None] for name, query in queries.items()}
