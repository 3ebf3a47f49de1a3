"""Which statistics a model needs, and their one bounded sum.

All of a user's statistics together have at most the clip norm, so that they are one release.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.privacy.mechanism import Mechanism
from fedrec.statistics.counts import COUNTS, count_items, count_shape
from fedrec.statistics.gram import GRAM, count_both, gram_shape
from fedrec.statistics.latest import latest_items
from fedrec.statistics.pairs import PAIRS, count_pairs, pair_shape
from fedrec.statistics.recency import RECENCY, count_by_time, recency_shape
from fedrec.statistics.transitions import TRANSITIONS, count_transitions, transition_shape

COUNTS_SHARE = 0.1
"""Share of a user's squared norm that its counts get where others are collected too; these divide the rest evenly,
unless ``model.statistic_shares`` says otherwise."""

MAX_ITEMS = 6000
"""Largest catalogue of whose item pairs a statistic is collected as it is: it grows with the square, to 72 MB a message
here (144 MB for transitions)."""

MAX_SKETCHED = 15_000
"""Largest catalogue of whose pairs a sketch is collected: the server reads every pair out of it."""


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """A sum over users.

    ``shape``: from the number of items and the model's settings. ``total``: the sum over histories, float32, each user
    brought to a norm if one is given last. ``limit``: the largest catalogue that it can be of; None for any.
    """

    shape: Callable[[int, ModelConfig], tuple[int, ...]]
    total: Callable[[Histories, int, ModelConfig, float | None], Tensor]
    limit: int | None = None


def _of_items(
    shape: Callable[[int], tuple[int, ...]],
    total: Callable[[Histories, int, float | None], Tensor],
    limit: int | None = None,
) -> Statistic:
    """Return a statistic that is the same under all settings."""
    return Statistic(
        shape=lambda num_items, config: shape(num_items),
        total=lambda histories, num_items, config, norm: total(histories, num_items, norm),
        limit=limit,
    )


STATISTICS: dict[str, Statistic] = {
    COUNTS: Statistic(
        shape=lambda num_items, config: count_shape(num_items),
        total=lambda histories, num_items, config, norm: count_items(histories, num_items, norm, config.item_floor),
    ),
    PAIRS: _of_items(pair_shape, count_pairs, MAX_ITEMS),
    GRAM: _of_items(gram_shape, count_both, MAX_SKETCHED),
    TRANSITIONS: _of_items(transition_shape, count_transitions, MAX_SKETCHED),
    RECENCY: Statistic(shape=recency_shape, total=count_by_time),
}

_NEEDED: dict[str, str] = {
    "neighbours": PAIRS,
    "ease": GRAM,
    "knn": GRAM,
    "pca": GRAM,
    "nearby": PAIRS,
    "markov": TRANSITIONS,
    "recent-popularity": RECENCY,
}
"""By branch or member, beside the counts, which every model gets."""


def needed_statistics(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of the statistics that a model is started from, counts first."""
    needed = {_NEEDED[name] for name in (*config.branches, *config.members) if name in _NEEDED}
    return (COUNTS, *(name for name in STATISTICS if name in needed))


def item_limit(name: str) -> int | None:
    """Return the largest catalogue that a branch or member can be of; None for any."""
    return STATISTICS[_NEEDED[name]].limit if name in _NEEDED else None


def statistics_name(config: ModelConfig) -> str:
    """Return how ledgers call the release of a model's statistics."""
    return "+".join(["popularity", *needed_statistics(config)[1:]])


def statistics_template(config: ModelConfig, num_items: int) -> dict[str, Tensor]:
    """Return tensors of the names and shapes that a model's statistics have, float32; their values mean nothing.

    Raises ``ConfigError`` for a catalogue that is too large for statistics of pairs.
    """
    needed = statistic_shares(config)
    for name in (*config.branches, *config.members):
        limit = item_limit(name)
        if limit is not None and num_items > limit:
            raise ConfigError(
                f"{name} is made from pairs of at most {limit} items, this catalogue has {num_items}: leave it out of "
                f"model.{'branches' if name in config.branches else 'members'}"
            )
    return {name: torch.empty(STATISTICS[name].shape(num_items, config)) for name in needed}


def statistics_sum(
    config: ModelConfig, histories: Histories, num_items: int, mechanism: Mechanism | None
) -> dict[str, Tensor]:
    """Return the sum of the users' statistics, as ``statistics_template`` describes them.

    With a ``mechanism`` all statistics of a user together have at most its clip norm. They are of the latest
    ``model.item_cap`` items of each.
    """
    shares, histories = statistic_shares(config), latest_items(histories, config.item_cap)
    norms = {name: None if mechanism is None else mechanism.clip_norm * share**0.5 for name, share in shares.items()}
    return {name: STATISTICS[name].total(histories, num_items, config, norms[name]) for name in shares}


def statistic_shares(config: ModelConfig) -> dict[str, float]:
    """Return the share of a user's squared norm that each of the needed statistics gets; they sum to 1.

    Raises ``ConfigError`` where ``model.statistic_shares`` leaves one out.
    """
    needed = needed_statistics(config)
    asked = {str(name): share for name, share in config.statistic_shares}
    if not asked:
        rest = (1 - COUNTS_SHARE) / max(len(needed) - 1, 1)
        asked = {name: COUNTS_SHARE if name == COUNTS else rest for name in needed}
    missing = [name for name in needed if name not in asked]
    if missing:
        raise ConfigError(f"model.statistic_shares lacks {missing[0]}, which this model is started from: name it too")
    total = sum(asked[name] for name in needed)
    return {name: asked[name] / total for name in needed}
