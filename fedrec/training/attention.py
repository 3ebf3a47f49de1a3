"""What the sequence branch looks at in a user's own history, for explanations on the device that holds it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from fedrec.data.histories import Histories
from fedrec.models.attention import SelfAttentionEncoder
from fedrec.models.fusion import FusedRecommender
from fedrec.models.layers import lookup
from fedrec.models.split import PrivateState, SharedState
from fedrec.training.cohort import device_of, on_device
from fedrec.training.examples import recent_events
from fedrec.training.optimizers import parameters_of


def sequence_attention(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> NDArray[np.float32] | None:
    """Return how much the state after the latest event looks at each of the user's latest events, float32 ``[U, L]``.

    Rows belong to the last ``model.history_length`` events, oldest first, with zeros behind a shorter history; those of
    a user with events sum to 1. Attention weights of the last block, averaged over heads. None for a model whose
    sequence encoder has none.
    """
    if "seq" not in model.config.branches or model.config.sequence_encoder != "sasrec":
        return None
    device = device_of(model)
    recent = recent_events(histories, model.config.history_length, device)
    own = {**on_device(shared, device), **on_device(parameters_of(private), device)}
    scope = "private" if model.config.sequence_scope == "private" else "shared"
    wanted = {"item_tower.": "model.shared.", "sequence.": f"model.{scope}."}
    state = {at + name: value for name, value in own.items() for start, at in wanted.items() if name.startswith(start)}
    with torch.no_grad():
        found: Tensor = functional_call(_AttentionOf(model), state, (recent.history, recent.mask, recent.last))
    looked: NDArray[np.float32] = (found * recent.mask).cpu().numpy()
    return looked


class _AttentionOf(nn.Module):
    """A model whose output is its sequence encoder's attention."""

    def __init__(self, model: FusedRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, history: Tensor, mask: Tensor, last: Tensor) -> Tensor:
        parts = self.model.private if self.model.config.sequence_scope == "private" else self.model.shared
        encoder = parts["sequence"]
        assert isinstance(encoder, SelfAttentionEncoder)  # the caller has looked
        vectors: Tensor = self.model.shared["item_tower"]()
        return encoder.attention(lookup(vectors, history) * mask[..., None], last)
