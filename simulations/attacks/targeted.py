"""Attacks that promote one item: what to add to its row, from made-up or guessed users.

All are in terms of item rows, float ``[num_items, width]``, whose products with a user's query are scores, and return
a change: what a client asks the server to add.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedrec.data.histories import Histories


def promoted_to(rows: Tensor, target: int, queries: Tensor) -> Tensor:
    """Return the descent of the mean cross-entropy that users of ``queries`` would all choose the target.

    A-ra where queries are drawn at random (Rong et al. 2022, IJCAI, section 4.1). ``queries``: float ``[B, width]``.
    """
    missed = torch.sigmoid(-queries @ rows[target])
    return only_row(rows, target, (missed[:, None] * queries).mean(dim=0))


def hardened(
    rows: Tensor, target: int, queries: Tensor, bias: int | None, steps: int = 30, rate: float = 0.1
) -> Tensor:
    """Return queries moved away from the target: users whom it is hard to show it to.

    A-hum is ``promoted_to`` these (Rong et al. 2022, IJCAI, section 4.2: hard user mining). What every query has the
    same of, in the column ``bias``, stays.
    """
    queries = queries.clone()
    for _ in range(steps):
        likes = torch.sigmoid(queries @ rows[target])
        step = rate * likes[:, None] * rows[target]
        if bias is not None:
            step[:, bias] = 0
        queries -= step
    return queries


def fitted_queries(
    rows: Tensor,
    histories: Histories,
    queries: Tensor,
    generator: torch.Generator,
    bias: int | None,
    *,
    steps: int = 20,
    rate: float = 0.05,
) -> Tensor:
    """Return ``queries`` fitted to histories by Adam on the pairwise loss (BPR), the rows held still.

    One query for each history, float ``[num_users, width]``; negatives are drawn from the whole catalogue.
    """
    users, positives = (torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in histories.distinct())
    fitted = queries.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([fitted], lr=rate)
    for _ in range(steps if len(users) else 0):
        negatives = torch.randint(0, len(rows), positives.shape, generator=generator)
        margins = (fitted[users] * (rows[positives] - rows[negatives])).sum(dim=1)
        optimizer.zero_grad()
        (-functional.logsigmoid(margins).sum()).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if bias is not None and fitted.grad is not None:
            fitted.grad[:, bias] = 0
        optimizer.step()
    return fitted.detach()


def with_fillers(change: Tensor, target: int, count: int, generator: torch.Generator) -> Tensor:
    """Return a change of the target and of ``count - 1`` other rows, drawn by the length that they have in ``change``.

    FedRecAttack hides so that it touches as many items as honest users do (Rong et al. 2022, ICDE, section 4.3).
    """
    lengths = change.norm(dim=1)
    lengths[target] = 0
    kept = torch.zeros_like(change)
    kept[target] = change[target]
    others = min(count - 1, int((lengths > 0).sum()))
    if others > 0:
        drawn = torch.multinomial(lengths, others, generator=generator)
        kept[drawn] = change[drawn]
    return kept


def popularity_levels(popularity: NDArray[np.int64]) -> Tensor:
    """Return each item's level, int64: 2 for the first tenth by popularity, 1 down to the 45th hundredth, 0 for others.

    As PipAttack divides them (Zhang et al. 2022, WSDM, section 4.2; the limits are from memory of the paper).
    """
    ranks = np.empty(len(popularity), np.int64)
    ranks[np.argsort(-popularity, kind="stable")] = np.arange(len(popularity))
    share = ranks / len(popularity)
    return torch.from_numpy(np.where(share < 0.1, 2, np.where(share < 0.45, 1, 0)))


def looking_popular(rows: Tensor, target: int, levels: Tensor, steps: int = 50, rate: float = 0.5) -> Tensor:
    """Return PipAttack's popularity obfuscation: the target's way to look popular to a classifier of rows by level.

    The classifier is a softmax regression, fitted anew to standardised rows by gradient descent.
    """
    spread = rows.std(dim=0).clamp_min(1e-6)
    inputs = (rows - rows.mean(dim=0)) / spread
    weights = torch.zeros(rows.shape[1], 3)
    known = functional.one_hot(levels, 3).to(rows.dtype)
    balance = (1 / known.sum(dim=0).clamp_min(1))[levels][:, None]
    for _ in range(steps):
        weights -= rate * inputs.T @ (balance * (torch.softmax(inputs @ weights, dim=1) - known)) / 3
    wrong = torch.softmax(inputs[target] @ weights, dim=0) - functional.one_hot(torch.tensor(2), 3)
    return only_row(rows, target, -(weights @ wrong) / spread)


def above_synthetic_lists(rows: Tensor, target: int, queries: Tensor, k: int = 20) -> Tensor:
    """Return PSMU's change of the target: above everything that synthetic users would be shown.

    The descent of the pairwise loss of the target against each synthetic user's first ``k`` items (Yuan et al. 2023,
    SIGIR, section 4.2; from memory of the paper, without its alternative products).
    """
    scores = queries @ rows.T
    scores[:, target] = -torch.inf
    shown = scores.topk(k, dim=1).values
    missed = torch.sigmoid(shown - (queries @ rows[target])[:, None]).sum(dim=1)
    return only_row(rows, target, (missed[:, None] * queries).mean(dim=0))


def only_row(rows: Tensor, item: int, change: Tensor) -> Tensor:
    """Return a change of one row, float ``[num_items, width]``."""
    found = torch.zeros_like(rows)
    found[item] = change
    return found
