"""Implicit ALS as a member (Hu et al., 2008): items solved from sums in rounds of their own, users on their devices."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.implicit_als import Weights, initial_items, solve_users
from fedrec.members.member import Released
from fedrec.statistics.counts import COUNTS


class ImplicitALSMember:
    """Scores by inner products with the vector that is solved from the user's own history."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return ``factors`` ``[num_items, ials_dim]`` to begin with, and ``unobserved`` ``[1]``.

        The factors are public, and the same for everybody. A pair that occurs is as rare as the data are sparse, so the
        weight of the others is ``model.ials_unobserved`` times the share of pairs that occur, from the item counts.
        """
        generator = torch.Generator().manual_seed(0)
        met = float(released.sums[COUNTS].clamp(min=0).sum()) / (released.population * released.num_items)
        return {
            "factors": initial_items(released.num_items, config.ials_dim, generator),
            "unobserved": torch.tensor([config.ials_unobserved * max(met, 1e-9)]),
        }

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return ``w_u . h_i``."""
        factors = tensors["factors"]
        return solve_users(factors, histories, als_weights(config, tensors["unobserved"])) @ factors.T


def als_weights(config: ModelConfig, unobserved: Tensor) -> Weights:
    """Return the weights of the objective. ``unobserved``: the member's tensor."""
    return Weights(unobserved=float(unobserved), regularisation=config.ials_regularisation)
