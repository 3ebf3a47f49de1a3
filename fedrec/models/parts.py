"""Small parts of the fused recommender: item factors, the user's vector, released neighbours, weights in training."""

import torch
from torch import Tensor, nn

from fedrec.config import Branch
from fedrec.models.neighbours import Neighbours
from fedrec.models.towers import INITIAL_STD


class Factors(nn.Module):
    """The mf branch's item side: embedding and bias; without its own embedding it reads the item tower's vectors."""

    def __init__(self, num_items: int, dim: int, *, item_embeddings: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(num_items, dim) * INITIAL_STD) if item_embeddings else None
        self.bias = nn.Parameter(torch.zeros(num_items))


class Released(nn.Module):
    """What the server sets from releases before training: the neighbours."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.neighbours = Neighbours(num_items)


class UserEmbedding(nn.Module):
    """The mf branch's user side: one private vector. Starts at zero, so that a new user scores by item bias alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(dim))


class FusionLogits(nn.Module):
    """Logits of the weights under which branches are trained together, one a branch; none where all weigh the same."""

    def __init__(self, branches: tuple[Branch, ...], *, learned: bool) -> None:
        super().__init__()
        self.branches = branches
        self.logits = nn.Parameter(torch.zeros(len(branches))) if learned and branches else None

    def forward(self) -> Tensor:
        """Return the weights, float ``[num_branches]`` (``[U, num_branches]``), which sum to the number of branches."""
        if self.logits is None:
            return torch.ones(len(self.branches))
        return len(self.branches) * torch.softmax(self.logits, dim=-1)
