"""What an item has in common with the history, in words of the catalogue: genres, decades, and the like."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.catalogue import Catalogue


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """One attribute of the item. ``events``: how many events of the history have it too."""

    attribute: str
    value: str
    events: int


def overlaps(item: int, history: NDArray[np.int32], catalogue: Catalogue) -> tuple[Overlap, ...]:
    """Return the item's attributes that occur in the history, those of most events first.

    Attributes are the catalogue's multi-hot columns, ``genre=Drama``; numbers are none.
    """
    tokens = [column for column, name in enumerate(catalogue.feature_names) if "=" in name]
    own = [column for column in tokens if catalogue.features[item, column] == 1]
    counts = (catalogue.features[history][:, own] == 1).sum(axis=0)
    found = []
    for column, count in zip(own, counts.tolist(), strict=True):
        attribute, _, value = catalogue.feature_names[column].partition("=")
        if count:
            found.append(Overlap(attribute=attribute, value=value, events=int(count)))
    return tuple(sorted(found, key=lambda overlap: -overlap.events))
