"""The neighbours branch: which items follow each other, from one released statistic, in a few components.

Untrained. Its tensors are set once by the server from a noisy sum of item pairs (``fedrec.statistics.pairs``), so
that they are post-processing of a release; no update touches them. The item side of neighbourhood models (Sarwar et
al., 2001) and of Markov chains, in the low rank that noise leaves.
"""

import torch
from torch import Tensor, nn

RANK = 16
"""Components kept. On ML-100K at epsilon 4 to 6, 16 and 32 rank alike and 64 worse, on the validation event."""

RECENT = 10
"""Latest events whose neighbours are looked for."""


class Neighbours(nn.Module):
    """Scores of items near the user's latest events, standardised over the catalogue: ``query @ table().T``.

    ``vectors`` float ``[num_items, RANK]``, orthonormal columns; ``spectrum`` float ``[RANK]``; ``scale`` float
    ``[1]``, the standard deviation that scores are given. All zero, and so silent, until they are released.
    """

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(num_items, min(RANK, num_items)), requires_grad=False)
        self.spectrum = nn.Parameter(torch.zeros(min(RANK, num_items)), requires_grad=False)
        self.scale = nn.Parameter(torch.zeros(1), requires_grad=False)

    def table(self) -> Tensor:
        """Return the items' side, centred over the catalogue, float ``[num_items, RANK]``."""
        return self.vectors - self.vectors.mean(0)

    def forward(self, history: Tensor, mask: Tensor) -> Tensor:
        """Return queries after each event, float ``[U, L, RANK]``.

        ``history``: int64 ``[U, L]``; ``mask``: float ``[U, L]``, 0 for padding, which comes last.
        """
        running = (self.vectors[history] * mask[..., None]).cumsum(1)
        before = torch.cat([torch.zeros_like(running[:, :RECENT]), running[:, :-RECENT]], dim=1)[:, : running.shape[1]]
        queries = (running - before) * self.spectrum
        table = self.table()
        covariance = table.T @ table / len(table)
        spread = ((queries @ covariance) * queries).sum(-1, keepdim=True).clamp(min=1e-24).sqrt()
        return self.scale * queries / spread
