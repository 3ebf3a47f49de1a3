"""The fused recommender of one user in ``torch.nn``'s own modules, and the examples that it is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.config import ModelConfig
from tests.fedrec.training.plain_encoders import Adapter, plain_encoder, product_name
from tests.fedrec.training.plain_family import Latent, MultVAE, NeuMF, NeuMFUser, Twins

State = dict[str, Tensor]

WINDOW, DROPOUT = 0, 1
"""Purposes of a step's random numbers, the last part of their stream."""

REBUILDING = 1_000_000
"""Number of the first of the steps that rebuild private parameters."""

Place = tuple[int, ...]
"""Of a step in its round: the number of a drawn step, or those of a pass and of a window in it."""

SAMPLED = ("sampled-softmax", "bpr", "bce", "triplet")


class PlainRecommender(nn.Module):
    """The fused recommender of one user, of ``torch.nn``'s own modules."""

    features: Tensor

    def __init__(self, config: ModelConfig, features: Tensor) -> None:
        super().__init__()
        self.config = config
        num_items, num_features = features.shape
        dim = config.dim
        self.register_buffer("features", features, persistent=False)
        if {"cf", "siamese", "seq"} & set(config.branches) or ("mf" in config.branches and not config.item_embeddings):
            self.item_tower = ItemVectors(num_items, num_features, dim, config.item_embeddings)
        self.fusion = Logits(len(config.branches))
        if "cf" in config.branches:
            self.behaviour_tower = nn.ModuleDict({"hidden": nn.Linear(dim, dim), "output": nn.Linear(dim, dim)})
        if "mf" in config.branches:
            self.user = Vector(dim)
        self.with_bias = next((name for name in ("mf", "neumf", "autoencoder") if name in config.branches), None)
        if self.with_bias:
            self.factors = ItemFactors(num_items, dim, config.item_embeddings and "mf" in config.branches)
        if "siamese" in config.branches:
            self.siamese = Twins(dim)
        if "neumf" in config.branches:
            self.neumf, self.neumf_user = NeuMF(num_items, dim), NeuMFUser(dim)
        if "autoencoder" in config.branches:
            self.autoencoder = MultVAE(num_items, dim)
        if "seq" in config.branches:
            self.sequence = nn.ModuleDict({"encoder": plain_encoder(config), "output": nn.Linear(dim, dim)})
            self.sequence_adapter = Adapter(dim) if config.sequence_scope == "hybrid" else None
        if "neighbours" in config.branches:
            self.released = nn.ModuleDict({"neighbours": ReleasedPairs(num_items)})
        if config.rating_head:
            self.rating, self.rating_user = Ratings(config, num_items), Bias()

    def forward(self, history: Tensor, keep: Tensor, latent: Latent | None = None) -> Tensor:
        """Return the fused scores after each event, ``[length, num_items]``, of ``history`` int64 ``[length]``."""
        vectors = self.item_tower(self.features) if hasattr(self, "item_tower") else self.features
        weights = len(self.config.branches) * torch.softmax(self.fusion.logits, dim=0)
        branches = {"cf": self._cf, "mf": self._mf, "seq": self._seq, "neighbours": self._neighbours}
        branches["siamese"] = lambda *_: self.siamese(vectors, history, keep[0])
        branches["neumf"] = lambda *_: self._bias("neumf") + self.neumf(self.neumf_user).expand(len(history), -1)
        branches["autoencoder"] = lambda *_: self._bias("autoencoder") + self.autoencoder(history, latent)
        scores = [branches[name](vectors, history, keep) for name in self.config.branches]
        return sum(weight * score for weight, score in zip(weights, scores, strict=True))

    def rate(self, history: Tensor, keep: Tensor, target: Tensor) -> Tensor:
        """Return what the user would rate each next item, ``[length]``, in units of half the scale from its middle."""
        shares = len(self.config.branches) * torch.softmax(self.fusion.logits, dim=0)
        weights = dict(zip(self.config.branches, shares, strict=True))
        predicted = self.rating.mean + self.rating.item_bias[target] + 3 * self.rating_user.bias
        gains = {name: gain / self.config.dim**0.5 for name, gain in self.rating.gains.items()}
        if hasattr(self, "item_tower"):
            vectors = self.item_tower(self.features)
            tower = vectors * gains["vectors"] if "vectors" in gains else vectors
        for branch, weight in weights.items():
            if branch == "mf":
                own = self.factors.embedding
                items = tower if own is None else own * gains["factors"]
                predicted = predicted + weight * items[target] @ self.user.embedding
            else:
                taste = {"cf": self._cf_taste, "seq": self._seq_taste}[branch](vectors, history, keep)
                predicted = predicted + weight * (taste * tower[target]).sum(1)
        return predicted

    def item_table(self) -> Tensor:
        """Return the items' vectors of the mf branch, ``[num_items, dim]``."""
        own = self.factors.embedding
        return self.item_tower(self.features) if own is None else own

    def parts(self) -> tuple[State, State]:
        """Return the shared and the private parameters that training moves, by the names of the product."""
        private = ("user.", "neumf_user.", "sequence_adapter.", "rating_user.")
        private += ("sequence.",) if self.config.sequence_scope == "private" else ()
        names = self.product_names()
        named = {names[name]: p for name, p in self.named_parameters() if not name.startswith("released.")}
        own = {name: p for name, p in named.items() if name.startswith(private)}
        return {name: p for name, p in named.items() if name not in own}, own

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy the values of ``state``, by the names of the product, into the parameters of those names."""
        names = self.product_names()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if names[name] in state:
                    parameter.copy_(state[names[name]])

    def product_names(self) -> dict[str, str]:
        """Return the product's name of each parameter; only those of sequence encoders differ."""
        names = [name for name, _ in self.named_parameters()]
        return {name: product_name(name) if name.startswith("sequence") else name for name in names}

    def _bias(self, name: str) -> Tensor:
        return self.factors.bias if self.with_bias == name else torch.zeros_like(self.factors.bias)

    def _cf(self, vectors: Tensor, history: Tensor, keep: Tensor) -> Tensor:
        return self._cf_taste(vectors, history, keep) @ vectors.T

    def _cf_taste(self, vectors: Tensor, history: Tensor, keep: Tensor) -> Tensor:
        seen = torch.arange(1, len(history) + 1, dtype=vectors.dtype)
        mean = vectors[history].cumsum(0) / seen[:, None]
        tower = self.behaviour_tower
        taste = mean + tower["output"](F.relu(tower["hidden"](mean * keep[0])))
        return taste * keep[1]

    def _mf(self, vectors: Tensor, history: Tensor, keep: Tensor) -> Tensor:
        scores = self.item_table() @ self.user.embedding + self.factors.bias
        return scores.expand(len(history), -1)

    def _seq(self, vectors: Tensor, history: Tensor, keep: Tensor) -> Tensor:
        return self._seq_taste(vectors, history, keep) @ vectors.T

    def _seq_taste(self, vectors: Tensor, history: Tensor, keep: Tensor) -> Tensor:
        states = self.sequence["encoder"](vectors[history] * keep[2])
        states = self.sequence["output"](states * keep[3])
        return states if self.sequence_adapter is None else self.sequence_adapter(states)

    def _neighbours(self, vectors: Tensor, history: Tensor, keep: Tensor) -> Tensor:
        return torch.stack([self.released["neighbours"](history[: t + 1]) for t in range(len(history))])


class Ratings(nn.Module):
    """The rating head's shared parameters."""

    def __init__(self, config: ModelConfig, num_items: int) -> None:
        super().__init__()
        branches, own = set(config.branches), config.item_embeddings
        names = ["vectors"] if {"cf", "seq"} & branches or ("mf" in branches and not own) else []
        names += ["factors"] if "mf" in branches and own else []
        self.mean = nn.Parameter(torch.zeros(1))
        self.item_bias = nn.Parameter(torch.zeros(num_items))
        self.gains = nn.ParameterDict({name: torch.zeros(config.dim) for name in names})
        self.log_variances = nn.Parameter(torch.zeros(2))


class Bias(nn.Module):
    """A user's rating bias."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))


class ItemVectors(nn.Module):
    """An id embedding, a network over content, or their sum."""

    def __init__(self, num_items: int, num_features: int, dim: int, item_embeddings: bool) -> None:
        super().__init__()
        self.id_embedding = nn.Parameter(torch.zeros(num_items, dim)) if item_embeddings else None
        self.content = None
        if num_features:
            self.content = nn.Sequential(nn.Linear(num_features, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, features: Tensor) -> Tensor:
        parts = [] if self.content is None else [self.content(features)]
        return sum(parts if self.id_embedding is None else [*parts, self.id_embedding])


class ItemFactors(nn.Module):
    """The mf branch's items."""

    def __init__(self, num_items: int, dim: int, item_embeddings: bool) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(num_items, dim)) if item_embeddings else None
        self.bias = nn.Parameter(torch.zeros(num_items))


class Vector(nn.Module):
    """The mf branch's user."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(dim))


class Logits(nn.Module):
    """The logits of the fusion."""

    def __init__(self, num_branches: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_branches))


class ReleasedPairs(nn.Module):
    """Which items follow each other; scores after the last of some events, of the latest ten of them."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        rank = min(16, num_items)
        self.vectors = nn.Parameter(torch.zeros(num_items, rank), requires_grad=False)
        self.spectrum = nn.Parameter(torch.zeros(rank), requires_grad=False)
        self.scale = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, history: Tensor) -> Tensor:
        near = self.vectors @ (self.spectrum * self.vectors[history[-10:]].sum(0))
        return self.scale * (near - near.mean()) / near.std(correction=0).clamp(min=1e-12)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Next-item examples of one step, ``[length]`` each; ``place`` is the step's in the round."""

    history: Tensor
    target: Tensor
    ratings: Tensor | None
    keep: Tensor
    place: Place
    latent: Latent | None
