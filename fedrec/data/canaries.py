"""Canaries: made-up users with items of their own, by which a whole run can be audited.

Each has a **reserved item**, which no real history holds and nobody is recommended: what a model learns of it, it
learns from its canary alone. Whether a canary takes part is a secret coin; one that does not has an empty history.
Knows catalogues and histories; knows nothing of models, runs or attacks.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.catalogue import Catalogue, Known
from fedrec.data.histories import Histories
from fedrec.errors import DataError

RESERVED = "fedrec-reserved:"
"""How ids of reserved items, and keys of canary users, begin."""

EVENTS = 2
"""Events of a canary that takes part, all on its own item: training asks for two, and one may be held back."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Canaries:
    """Which canaries a run has. ``rows``: int64 ``[m]``, the code of each one's item; ``coins``: bool ``[m]``.

    Positions in both are those of the canaries among themselves; in the roster they come after all real users.
    """

    rows: NDArray[np.int64]
    coins: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.rows.shape != self.coins.shape or self.rows.ndim != 1 or len(set(self.rows.tolist())) != len(self.rows):
            raise ValueError("canaries need one item of its own and one coin each")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def user_keys(self) -> tuple[str, ...]:
        """Keys of the canary users, which no real user has."""
        return tuple(f"{RESERVED}{number:06d}" for number in range(len(self)))

    def histories(self, like: Histories) -> Histories:
        """Return the canaries' histories, with the columns that those of real users have.

        Their times are those of the latest real event, and their ratings the highest.
        """
        taking = [[int(row)] * EVENTS if coin else [] for row, coin in zip(self.rows, self.coins, strict=True)]
        ratings = times = None
        if like.ratings is not None:
            ratings = [[float(like.ratings.max(initial=0.0))] * len(own) for own in taking]
        if like.times is not None:
            times = [[float(like.times.max(initial=0.0))] * len(own) for own in taking]
        return Histories.from_lists(taking, ratings, times)


def toss(first_row: int, count: int, generator: np.random.Generator) -> Canaries:
    """Return ``count`` canaries on the items from ``first_row`` on, a fair coin of ``generator`` for each."""
    return Canaries(rows=np.arange(first_row, first_row + count), coins=generator.random(count) < 0.5)


def with_reserved_items(catalogue: Catalogue, count: int) -> Catalogue:
    """Return ``catalogue`` with ``count`` reserved items after all others: without features, images or texts.

    Raises ``DataError`` if a real item has such an id.
    """
    if reserved_items(catalogue).size:
        item = catalogue.item_ids[int(reserved_items(catalogue)[0])]
        raise DataError(f"item id {item!r} begins like those that audits reserve ({RESERVED}): rename the item")
    ids = tuple(f"{RESERVED}{number:06d}" for number in range(count))
    return replace(
        catalogue,
        item_ids=(*catalogue.item_ids, *ids),
        titles=(*catalogue.titles, *ids),
        features=_padded(catalogue.features, count),
        described=_padded(catalogue.described, count),
        images=_absent(catalogue.images, count),
        texts=_absent(catalogue.texts, count),
    )


def reserved_items(catalogue: Catalogue) -> NDArray[np.int64]:
    """Return the codes of a catalogue's reserved items, which are never to be shown to anybody."""
    return np.flatnonzero([item_id.startswith(RESERVED) for item_id in catalogue.item_ids])


def _padded(rows: NDArray[Any], count: int) -> NDArray[Any]:
    return np.concatenate([rows, np.zeros((count, *rows.shape[1:]), rows.dtype)])


def _absent(known: Known | None, count: int) -> Known | None:
    return known and Known(values=_padded(known.values, count), present=_padded(known.present, count))
