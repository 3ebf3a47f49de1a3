"""Attacks that want everybody's recommendations to be bad. All return a change of the item table.

A change is what a client asks the server to add: float ``[num_items, dim]``.
"""

import torch
from torch import Tensor


def opposed(honest: Tensor, strength: float, rows: Tensor | None = None) -> Tensor:
    """Return Spattack of one who knows the others' updates: the honest sum turned round, ``strength`` times as long.

    Zhang et al. 2025, "Rethinking Byzantine Robustness in Federated Recommendation from Sparse Aggregation Perspective"
    (AAAI).
    ``honest``: the others' summed change. ``rows``: the items it is limited to (theirs with few supporters, where liars
    are soon the majority); None for all. ``strength`` is of one liar: share it out among colluding ones.
    """
    change = -strength * honest
    return change if rows is None else _only(change, rows)


def clustered(items: Tensor, clusters: int, length: float, generator: torch.Generator, steps: int = 5) -> Tensor:
    """Return ClusterAttack's change: rows draw together to ``clusters`` dense points, and scores tell nothing apart.

    Yu et al. 2023, "Untargeted Attack against Federated Recommendation Systems via Poisonous Item Embeddings and the
    Defense" (AAAI). Descends on the variance within clusters of k-means; the longest row is of ``length``. The paper
    adapts the number of clusters round by round; here it is given.
    """
    centres = items[torch.randperm(len(items), generator=generator)[:clusters]].clone()
    for _ in range(steps):
        nearest = torch.cdist(items, centres).argmin(dim=1)
        for cluster in sorted(set(nearest.tolist())):
            centres[cluster] = items[nearest == cluster].mean(dim=0)
    pull = centres[torch.cdist(items, centres).argmin(dim=1)] - items
    return pull * (length / max(float(pull.norm(dim=1).max()), 1e-12))


def little_is_enough(honest: Tensor, deviations: float) -> Tensor:
    """Return the colluding liars' common update: the honest mean less ``deviations`` standard deviations.

    Baruch et al. 2019, "A Little Is Enough" (NeurIPS). ``honest``: the liars' own honest updates, or their guess of the
    others', ``[num_clients, num_items, dim]``.
    """
    return honest.mean(dim=0) - deviations * honest.std(dim=0, unbiased=False)


def _only(change: Tensor, rows: Tensor) -> Tensor:
    kept = torch.zeros_like(change)
    kept[rows] = change[rows]
    return kept
