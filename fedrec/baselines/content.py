"""What content alone says of an item: how popular its tokens are with everybody, and with the user.

For items without events, which no other baseline can score. Tokens are the columns of features that hold 0 and 1
alone: genres, words, buckets of years.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.baselines.popularity import Popularity, distinct_pairs
from fedrec.data.histories import Histories


def token_columns(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the columns that hold 0 and 1 alone, float32 ``[num_items, num_tokens]``."""
    return features[:, np.isin(features, (0.0, 1.0)).all(axis=0)]


def fit_popularity(train: Histories, features: NDArray[np.float32], *, per_item: bool) -> Popularity:
    """Return popularity by content: an item scores the mean over its tokens of their popularity in ``train``.

    A token's popularity is the number of users of its items, summed, or with ``per_item`` the mean over those of its
    items that have any. An item without tokens scores 0. ``features``: float32 ``[num_items, num_features]``.
    """
    tokens = token_columns(features)
    items, _ = distinct_pairs(train)
    counts = np.bincount(items, minlength=len(features)).astype(np.float64)
    popular = counts @ tokens
    if per_item:
        popular /= np.maximum((counts > 0) @ tokens, 1.0)
    return Popularity((tokens @ popular / np.maximum(tokens.sum(1), 1.0)).astype(np.float32))


@dataclass(frozen=True, eq=False)
class ContentProfile:
    """Cosine of item and user in the space of tokens, plus ``popularity_weight`` times popularity by content.

    ``items``: float32 ``[num_items, num_tokens]``, tokens weighted by the log of their rarity, rows of length 1 or 0. A
    user is the mean of the items of its history. ``popular``: float32 ``[num_items]``, standardised.
    """

    items: NDArray[np.float32]
    popular: NDArray[np.float32]
    popularity_weight: float

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return float32 ``[num_users, num_items]``; an empty history scores by popularity alone."""
        users = np.repeat(np.arange(len(histories)), histories.lengths)
        profiles = np.zeros((len(histories), self.items.shape[1]), np.float32)
        np.add.at(profiles, users, self.items[histories.items])
        cosines = _unit(profiles) @ self.items.T
        spread = cosines.std(axis=1, keepdims=True)
        scores: NDArray[np.float32] = cosines / np.maximum(spread, 1e-12) + self.popularity_weight * self.popular
        return scores.astype(np.float32)


def fit_profile(
    train: Histories, features: NDArray[np.float32], popularity_weight: float, *, per_item: bool = True
) -> ContentProfile:
    """Return the personal content profile; ``per_item`` is that of ``fit_popularity``."""
    tokens = token_columns(features)
    rarity = np.log((1 + len(tokens)) / (1 + tokens.sum(0)))
    counts = fit_popularity(train, features, per_item=per_item).counts
    popular = (counts - counts.mean()) / max(float(counts.std()), 1e-12)
    items = _unit((tokens * rarity).astype(np.float32))
    return ContentProfile(items, popular.astype(np.float32), popularity_weight)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
