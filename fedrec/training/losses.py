"""Losses of next-item prediction, a user each. Knows queries, tables and examples; nothing of rounds or privacy."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from fedrec.config import Loss
from fedrec.models.fusion import FusedRecommender, Queries, Tables, scores, table_scores
from fedrec.models.layers import lookup, transposed
from fedrec.models.rating import RatingQueries
from fedrec.training.examples import Examples

CandidateLoss = Callable[[Tensor, Tensor, Examples, int, float], Tensor]
"""From scores of targets ``[U, L]`` and negatives ``[U, L or 1, K]``, examples, the number of items in the catalogue
and the margin to each user's loss, float ``[U]``."""


def user_losses(
    model: FusedRecommender,
    shared: Mapping[str, Tensor],
    private: Mapping[str, Tensor],
    examples: Examples,
    loss: Loss,
    rows: Tensor | None = None,
    margin: float = 1.0,
    rating_weight: float | None = 1.0,
) -> Tensor:
    """Return each user's mean loss over its positions, float ``[U]``; 0 for a user without any.

    With what branches add to it (``BranchQueries.penalty``). Parameters may be common or stacked. ``rows``: int64
    ``[U, R]``, each user's part of the catalogue, within which codes in ``examples`` count; item tables in ``shared``
    then hold these rows, ``[U, R, ...]``. ``margin``: of the triplet loss. ``rating_weight``: of the rating head's
    loss, where there are a head and ratings; None weighs both tasks by their learned variances.
    """
    state = {f"shared.{name}": value for name, value in shared.items()}
    state |= {f"private.{name}": value for name, value in private.items()}
    read = (examples.history, examples.mask, examples.keep, rows)
    asked, tables = functional_call(model, state, read, {"latent": examples.latent})
    rating = _rating_losses(model, asked.rating, tables, examples)
    if rating is not None and loss == "mse":
        losses = rating
    elif loss == "softmax":
        losses = _softmax(scores(asked.fused(), tables), examples)
    else:
        found = _candidate_scores(asked.fused(), tables, examples)
        losses = CANDIDATE_LOSSES[loss](*found, examples, model.num_items, margin)
    losses = losses if asked.penalty is None else losses + _mean(asked.penalty, examples)
    if rating is None or loss == "mse":
        return losses
    if rating_weight is not None:
        return losses + rating_weight * rating
    return _weighed_by_variance(losses, rating, shared["rating.log_variances"], examples)


def losses_of_rows(every: Tensor, examples: Examples, loss: Loss, num_items: int, margin: float = 1.0) -> Tensor:
    """Return each user's mean loss where scores are the same after every event, float ``[U]``.

    ``every``: float ``[U, R]``, scores of the rows within which codes in ``examples`` count.
    """
    if loss == "softmax":
        return _softmax(every[:, None], examples)
    positive = every.gather(1, examples.target)
    negative = every.gather(1, examples.target[:, :0] if examples.negatives is None else examples.negatives)
    return CANDIDATE_LOSSES[loss](positive, negative[:, None], examples, num_items, margin)


def _softmax(every: Tensor, examples: Examples) -> Tensor:
    """Cross-entropy over all rows, ``[U, L or 1, R]``. Every other item is a negative, held-out ones included."""
    log_odds = F.log_softmax(every, dim=-1).expand(-1, examples.target.shape[1], -1)
    return _mean(-log_odds.gather(2, examples.target[..., None])[..., 0], examples)


def _sampled_softmax(positive: Tensor, negative: Tensor, examples: Examples, num_items: int, margin: float) -> Tensor:
    """Cross-entropy against drawn negatives, their share of the catalogue made up for (Jean et al., 2015, eq. 9)."""
    assert examples.met is not None  # examples of sampled losses have it
    correction = ((num_items - examples.met).clamp(min=1) / negative.shape[-1]).log()
    others = torch.logsumexp(negative, dim=-1) + correction[:, None]
    return _mean(F.softplus(others - positive), examples)


def _bpr(positive: Tensor, negative: Tensor, examples: Examples, num_items: int, margin: float) -> Tensor:
    """Mean over negatives of ``-log sigmoid(s_target - s_negative)`` (Rendle et al., 2009, section 4.1)."""
    return _mean(F.softplus(negative - positive[..., None]).mean(-1), examples)


def _bce(positive: Tensor, negative: Tensor, examples: Examples, num_items: int, margin: float) -> Tensor:
    """Binary cross-entropy, the negatives of a position together weighing as much as its target."""
    return _mean(F.softplus(-positive) + F.softplus(negative).mean(-1), examples)


def _triplet(positive: Tensor, negative: Tensor, examples: Examples, num_items: int, margin: float) -> Tensor:
    """Mean over negatives of ``max(0, margin - s_target + s_negative)`` (Schroff et al., 2015, section 3.1)."""
    return _mean(F.relu(margin - positive[..., None] + negative).mean(-1), examples)


def _mse(positive: Tensor, negative: Tensor, examples: Examples, num_items: int, margin: float) -> Tensor:
    """Squared error of the targets' ratings (Koren et al., 2009, eq. 2, without its regularisation)."""
    assert examples.ratings is not None  # the caller has checked that histories have them
    return _mean((positive - examples.ratings).square(), examples)


def _rating_losses(
    model: FusedRecommender, asked: RatingQueries | None, tables: Tables, examples: Examples
) -> Tensor | None:
    """Squared error of the targets' ratings, in units of half the rating scale, as the rating head predicts them.

    None without a head or without ratings: such users train the ranking alone.
    """
    if asked is None or examples.ratings is None:
        return None
    low, high = model.config.rating_scale
    wanted = (examples.ratings - (low + high) / 2) / ((high - low) / 2)
    predicted, _ = _candidate_scores(asked.queries, tables, replace(examples, negatives=None))
    return _mean((predicted + asked.level - wanted).square(), examples)


def _weighed_by_variance(ranking: Tensor, rating: Tensor, log_variances: Tensor, examples: Examples) -> Tensor:
    """Weigh a classification and a regression by their learned variances (Kendall et al., 2018, equation 10).

    ``log_variances``: float ``[2]`` or ``[U, 2]``. A user who sits the step out has no loss, and so no say in them.
    """
    of_ranking, of_rating = log_variances.unbind(-1)
    weighed = (-of_ranking).exp() * ranking + (-of_rating).exp() / 2 * rating
    return weighed + (of_ranking + of_rating) / 2 * examples.active


CANDIDATE_LOSSES: dict[Loss, CandidateLoss] = {
    "sampled-softmax": _sampled_softmax,
    "bpr": _bpr,
    "bce": _bce,
    "triplet": _triplet,
    "mse": _mse,
}


def _mean(losses: Tensor, examples: Examples) -> Tensor:
    return (losses * examples.weights).sum(1)


def _candidate_scores(queries: Queries, tables: Tables, examples: Examples) -> tuple[Tensor, Tensor]:
    """Return the scores of the targets, float ``[U, L]``, and of the negatives, float ``[U, L or 1, K]``.

    Where a query is the same after every event, all rows are scored and scores picked; else rows are picked first, of
    tables that are asked by inner products: all that are asked anew after each event.
    """
    length, picked = examples.target.shape[1], examples.target
    if examples.negatives is not None:
        picked = torch.cat([examples.target, examples.negatives], dim=1)
    targets, negatives = [], []
    for name, query in queries.items():
        if query.shape[1] == 1:
            every = table_scores(name, query, tables[name])[:, 0]
            found = every.gather(1, picked)
            targets.append(found[:, :length])
            negatives.append(found[:, None, length:])
        else:
            rows = lookup(tables[name], picked)
            targets.append((query * rows[:, :length]).sum(-1))
            negatives.append(query @ transposed(rows[:, length:]))
    return sum(targets[1:], targets[0]), sum(negatives[1:], negatives[0])
