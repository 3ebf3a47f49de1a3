"""The fused recommender ``alpha*cf + beta*mf + gamma*seq`` for one user; ``torch.func.vmap`` gives it many.

Written without a user axis: ``fedrec.training`` adds it. Knows nothing of rounds, privacy or files.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedrec.config import Branch, ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.models.neighbours import Neighbours
from fedrec.models.sequence import GRUEncoder
from fedrec.models.split import RELEASED, SplitModel
from fedrec.models.towers import INITIAL_STD, BehaviourTower, ItemTower

NUM_DROPOUT_MASKS = 4
"""Dropout masks that one forward pass reads: two of the behaviour tower, two of the sequence encoder."""


class BranchScores(NamedTuple):
    """Scores of each branch present, each broadcastable to float ``[length, num_items]``, and its fusion weight."""

    scores: dict[Branch, Tensor]
    weights: dict[Branch, Tensor]

    def fused(self) -> Tensor:
        """Return the weighted sum, float ``[length, num_items]``."""
        weighted = [self.weights[name] * scores for name, scores in self.scores.items()]
        return functools.reduce(torch.add, weighted)


class Factors(nn.Module):
    """The mf branch's item side: embedding and bias; without its own embedding it reads the item tower's vectors."""

    def __init__(self, num_items: int, dim: int, *, item_embeddings: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(num_items, dim) * INITIAL_STD) if item_embeddings else None
        self.bias = nn.Parameter(torch.zeros(num_items))

    def forward(self, user: Tensor, vectors: Tensor) -> Tensor:
        """Return scores float ``[num_items]`` for a user embedding float ``[dim]``."""
        embedding = vectors if self.embedding is None else self.embedding
        return embedding @ user + self.bias


class FusedRecommender(SplitModel):
    """Behaviour tower, matrix factorisation and sequence encoder under softmax fusion weights.

    Private: the user embedding (mf), and the sequence encoder's weights where ``sequence_scope`` is ``private``.
    Shared: everything else. Weights are ``len(branches) * softmax(logits)``, so that each starts at 1.
    """

    private: nn.ModuleDict
    shared: nn.ModuleDict

    def __init__(self, config: ModelConfig, features: Tensor) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items = features.shape[0]
        dim = config.dim
        private: dict[str, nn.Module] = {}
        shared: dict[str, nn.Module] = {
            "item_tower": ItemTower(features, dim, item_embeddings=config.item_embeddings),
            "fusion": FusionLogits(config.branches),
        }
        if "cf" in config.branches:
            shared["behaviour_tower"] = BehaviourTower(dim)
        if "mf" in config.branches:
            shared["factors"] = Factors(num_items, dim, item_embeddings=config.item_embeddings)
            private["user"] = UserEmbedding(dim)
        if "seq" in config.branches:
            (private if config.sequence_scope == "private" else shared)["sequence"] = GRUEncoder(dim)
        if "neighbours" in config.branches:
            shared[RELEASED.rstrip(".")] = Released(num_items)
        self.private = nn.ModuleDict(private)
        self.shared = nn.ModuleDict(shared)
        self.check_split()

    def forward(self, history: Tensor, mask: Tensor, keep: Tensor) -> BranchScores:
        """Score the catalogue after each event of one user.

        ``history``: int64 ``[length]`` item codes, padding (any code) last. ``mask``: float ``[length]``. ``keep``:
        float ``[NUM_DROPOUT_MASKS, dim]`` dropout factors, ones for none.
        """
        vectors = self.shared["item_tower"]()
        events = vectors[history] * mask[:, None]
        scores: dict[Branch, Tensor] = {}
        if "cf" in self.config.branches:
            scores["cf"] = self.shared["behaviour_tower"](events, mask, keep[0], keep[1]) @ vectors.T
        if "mf" in self.config.branches:
            scores["mf"] = self.shared["factors"](self.private["user"].embedding, vectors)[None]
        if "seq" in self.config.branches:
            scores["seq"] = self._encoder()(events, keep[2], keep[3]) @ vectors.T
        if "neighbours" in self.config.branches:
            scores["neighbours"] = self.shared[RELEASED.rstrip(".")](history, mask)
        weights = dict(zip(self.config.branches, self.shared["fusion"](), strict=True))
        return BranchScores(scores, weights)

    def _encoder(self) -> nn.Module:
        parts = self.private if self.config.sequence_scope == "private" else self.shared
        return parts["sequence"]


class Released(nn.Module):
    """What the server sets from releases before training: the neighbours."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.neighbours = Neighbours(num_items)

    def forward(self, history: Tensor, mask: Tensor) -> Tensor:
        """Return the neighbours' scores after each event, float ``[length, num_items]``."""
        scores: Tensor = self.neighbours(history, mask)
        return scores


class UserEmbedding(nn.Module):
    """The mf branch's user side: one private vector. Starts at zero, so that a new user scores by item bias alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(dim))


class FusionLogits(nn.Module):
    """Logits of the fusion weights, one a branch."""

    def __init__(self, branches: tuple[Branch, ...]) -> None:
        super().__init__()
        self.branches = branches
        self.logits = nn.Parameter(torch.zeros(len(branches)))

    def forward(self) -> Tensor:
        """Return the weights, float ``[num_branches]``, which sum to the number of branches."""
        return len(self.branches) * torch.softmax(self.logits, dim=0)


def fusion_weights(config: ModelConfig, shared: Mapping[str, Tensor]) -> dict[str, float]:
    """Return each branch's share of the fusion (alpha, beta, gamma of cf, mf, seq), which sum to 1."""
    shares = torch.softmax(shared["fusion.logits"].detach(), dim=0).tolist()
    return dict(zip(config.branches, shares, strict=True))


def build_model(config: ModelConfig, catalogue: Catalogue, seed: int) -> FusedRecommender:
    """Build the model for a catalogue; equal arguments give equal parameters, whatever the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FusedRecommender(config, torch.from_numpy(catalogue.features))
