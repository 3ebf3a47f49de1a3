"""Rules that bear some nodes that lie: coordinate by coordinate, or by distances between whole replies.

All read nodes' means per user, one vote a node. None is a plain bounded sum, so that none can be released under noise
that the server adds. For recommenders they have a known weakness: of the rows of rare items honest nodes are few, so
that they themselves are what lies far off (Spattack: Yan et al., 2025).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.aggregation.kept import Kept


@dataclass(kw_only=True)
class TrimmedMean(Kept):
    """Mean of each coordinate without its lowest and highest ``share`` of nodes (Yin et al., 2018, definition 2).

    Bears ``floor(share * nodes)`` nodes that lie. ``share`` is in [0, 0.5).
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.share < 0.5:
            raise ValueError(f"share must be in [0, 0.5), got {self.share}")

    def estimate(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the trimmed mean of each coordinate; nobody is left out as a whole."""
        nodes = len(self.keys)
        cut = int(self.share * nodes)
        mean = self.empty()
        for name, part, rows in self.blocks():
            mean[name].view(-1)[part] = rows.sort(dim=0).values[cut : nodes - cut].mean(dim=0)
        return mean, {}


@dataclass(kw_only=True)
class Median(Kept):
    """Median of each coordinate, of two the mean (Yin et al., 2018, definition 1). Bears less than half of the nodes.

    Of a coordinate that most nodes leave at zero it is zero, whatever the others say.
    """

    def estimate(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the median of each coordinate; nobody is left out as a whole."""
        nodes = len(self.keys)
        mean = self.empty()
        for name, part, rows in self.blocks():
            ordered = rows.sort(dim=0).values
            mean[name].view(-1)[part] = (ordered[(nodes - 1) // 2] + ordered[nodes // 2]) / 2
        return mean, {}


@dataclass(kw_only=True)
class Krum(Kept):
    """The mean of the ``chosen`` replies that lie nearest to most others (Blanchard et al., 2017, section 4).

    A reply's score is the sum of its squared distances to the ``nodes - liars - 2`` nearest others; ``chosen = 1`` is
    Krum, None as many as are not thought to lie is multi-Krum. ``share`` of nodes are thought to lie, and never so many
    that ``2 liars + 2 < nodes`` fails. Of equal scores the lower node key's wins. Takes ``nodes^2`` distances.
    """

    share: float = 0.1
    chosen: int | None = 1

    def __post_init__(self) -> None:
        if not 0 <= self.share < 0.5:
            raise ValueError(f"share must be in [0, 0.5), got {self.share}")

    def estimate(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the mean of the chosen replies; all others are left out."""
        keys = self.keys
        liars = min(math.ceil(self.share * len(keys)), max((len(keys) - 3) // 2, 0))
        scores = self.scores(liars)
        count = min(self.chosen or len(keys) - liars, len(keys))
        chosen = scores.sort(stable=True).indices[:count]
        weights = torch.zeros(len(keys), dtype=torch.float64)
        weights[chosen] = 1
        left_out = {key: "its reply lies far from the others'" for i, key in enumerate(keys) if not weights[i]}
        return self.weighted(weights), left_out

    def scores(self, liars: int) -> Tensor:
        """Return each reply's score, float64 ``[nodes]`` in order of key, if so many nodes are thought to lie."""
        nodes = len(self.keys)
        squares = torch.zeros(nodes, nodes, dtype=torch.float64)
        for _, _, rows in self.blocks():
            squares += torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
        squares.fill_diagonal_(float("inf"))
        nearest = min(max(nodes - liars - 2, 1), max(nodes - 1, 0))
        return squares.sort(dim=1).values[:, :nearest].sum(dim=1)


@dataclass(kw_only=True)
class GeometricMedian(Kept):
    """The point of the least sum of distances to all replies (RFA: Pillutla et al., 2022, algorithm 2).

    Found by the smoothed Weiszfeld iteration. Bears less than half of the nodes.

    ``smoothing`` is what a distance counts at least, relative to the median distance to the coordinates' medians, where
    it begins; it ends when the point moves by less than ``tolerance`` of that, or after ``most`` steps.
    """

    smoothing: float = 1e-6
    tolerance: float = 1e-9
    most: int = 100

    def estimate(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the geometric median; everybody has some weight."""
        point = self.empty()
        for name, part, rows in self.blocks():  # a start that no minority can carry away, as it could the mean
            point[name].view(-1)[part] = rows.median(dim=0).values
        distances = self._distances(point)
        scale = float(distances.median())  # 0: half of the replies are this point, and so it is the one
        for _ in range(self.most if scale else 0):
            moved = self.weighted(1 / distances.clamp_min(self.smoothing * scale))
            step = sum(float((moved[name] - point[name]).square().sum()) for name in point) ** 0.5
            point, distances = moved, self._distances(moved)
            if step <= self.tolerance * scale:
                break
        return point, {}

    def _distances(self, point: dict[str, Tensor]) -> Tensor:
        squares = torch.zeros(len(self.keys), dtype=torch.float64)
        for name, part, rows in self.blocks():
            squares += (rows - point[name].view(-1)[part]).square().sum(dim=1)
        return squares.sqrt()
