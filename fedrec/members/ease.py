"""EASE as a member (Steck, 2019): the item-item weights are solved by the server, histories are read by the device."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedrec.baselines.ease import fit_gram
from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.member import Released
from fedrec.models.item_weights import packed, summed_rows


class EaseMember:
    """Scores a user by the sum of the rows of his items."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return the weights between items, diagonal 0, as ``fedrec.models.item_weights`` keeps them.

        The regularisation is ``model.ease_regularisation`` in units of the Gram matrix' mean diagonal. Noise shifts
        eigenvalues by up to ``2 noise sqrt(num_items)`` (Wigner's semicircle); the diagonal is raised by as much, so
        that the matrix stays positive definite.
        """
        gram = released.gram()
        typical = float(gram.diagonal().clamp(min=0).mean())
        shift = 1e-6 + 2 * released.noise * released.num_items**0.5
        return packed(fit_gram(gram, config.ease_regularisation * typical + shift).weights)

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return ``x W``."""
        return scored_by_rows(tensors, histories)


def scored_by_rows(tensors: Mapping[str, Tensor], histories: Histories) -> Tensor:
    """Return the sum of the rows of each user's distinct items, float32 ``[num_users, num_items]``."""
    users, items = (torch.from_numpy(part) for part in histories.distinct())
    return summed_rows(tensors, users, items, len(histories), len(tensors["weights"]))
