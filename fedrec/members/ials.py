"""Implicit ALS as a member (Hu et al., 2008): items solved from sums in rounds of their own, users on their devices."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.implicit_als import Weights, initial_items, solve_users
from fedrec.members.member import Released


class ImplicitALSMember:
    """Scores by inner products with the vector that is solved from the user's own history."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return ``factors`` ``[num_items, ials_dim]`` to begin with; public, and the same for everybody."""
        generator = torch.Generator().manual_seed(0)
        return {"factors": initial_items(released.num_items, config.ials_dim, generator)}

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return ``w_u . h_i``."""
        factors = tensors["factors"]
        return solve_users(factors, histories, als_weights(config)) @ factors.T


def als_weights(config: ModelConfig) -> Weights:
    """Return the weights of the objective."""
    return Weights(unobserved=config.ials_unobserved, regularisation=config.ials_regularisation)
