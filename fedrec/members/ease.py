"""EASE as a member (Steck, 2019): the item-item weights are solved by the server, histories are read by the device."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedrec.baselines.ease import Ease, fit_gram
from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.member import Released


class EaseMember:
    """Scores a user by the sum of the rows of his items."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return ``weights`` ``[num_items, num_items]``, diagonal 0.

        The regularisation is ``model.ease_regularisation`` in units of the Gram matrix' mean diagonal.
        Noise shifts eigenvalues by up to ``2 noise sqrt(num_items)`` (Wigner's semicircle); the diagonal is raised by
        as much, so that the matrix stays positive definite.
        """
        gram = released.gram()
        typical = float(gram.diagonal().clamp(min=0).mean())
        shift = 2 * released.noise * released.num_items**0.5
        lowest = 1e-6 + shift
        return {"weights": fit_gram(gram, max(config.ease_regularisation * typical + shift, lowest)).weights}

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return ``x W``."""
        return torch.from_numpy(Ease(tensors["weights"]).score(histories))
