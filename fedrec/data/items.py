"""The item table as it was read, and the public catalogue built from it. Knows no interactions."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedrec.data.catalogue import Catalogue
from fedrec.data.features import Features, multi_hot, one_hot, standardised

TITLE = "title"
"""The text column that is shown to people; like all text it is never a feature."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemTable:
    """Columns of item content by kind and name, one value an item.

    ``token``: one word, blank if missing. ``token_seq``: any number of words. ``number``: float64 ``[num_items]``, NaN
    if missing. ``text``: running text, for people only.
    """

    item_ids: tuple[str, ...]
    token: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token_seq: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    number: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    text: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.item_ids)) != len(self.item_ids):
            raise ValueError("item ids of an item table must be unique")
        kinds: tuple[Mapping[str, Sized], ...] = (self.token, self.token_seq, self.number, self.text)
        for name, column in [pair for columns in kinds for pair in columns.items()]:
            if len(column) != len(self.item_ids):
                raise ValueError(f"column {name!r} has {len(column)} values for {len(self.item_ids)} items")
        for name, numbers in self.number.items():
            if np.isinf(numbers).any():
                raise ValueError(f"column {name!r} must hold finite numbers, or NaN where one is missing")

    @property
    def num_items(self) -> int:
        """Rows of the table."""
        return len(self.item_ids)

    @property
    def titles(self) -> tuple[str, ...]:
        """What to call each item: its title, or its id where there is none."""
        named = self.text.get(TITLE, self.item_ids)
        return tuple(title or item_id for title, item_id in zip(named, self.item_ids, strict=True))


def build_catalogue(item_ids: Sequence[str], table: ItemTable | None) -> Catalogue:
    """Return the catalogue of ``item_ids``, in their order, with what ``table`` says of them.

    Features are fitted on content alone, of the items that are in both: years in coarse buckets, tokens multi-hot,
    numbers standardised. An item that the table lacks has zero features and its id as title; without a table there are
    no features. Raise ``DataError`` if there are fewer than two items.
    """
    if table is None:
        table = ItemTable(item_ids=())
    row_of = {item_id: row for row, item_id in enumerate(table.item_ids)}
    known = [code for code, item_id in enumerate(item_ids) if item_id in row_of]
    rows = [row_of[item_ids[code]] for code in known]
    content = _features(table, rows)
    features = np.zeros((len(item_ids), len(content.names)), dtype=np.float32)
    features[known] = content.values
    title_of = dict(zip(table.item_ids, table.titles, strict=True))
    titles = [title_of.get(item_id, item_id) for item_id in item_ids]
    return Catalogue(item_ids=tuple(item_ids), titles=tuple(titles), features=features, feature_names=content.names)


def _features(table: ItemTable, rows: Sequence[int]) -> Features:
    parts = [one_hot(name, [column[row] for row in rows]) for name, column in table.token.items()]
    parts += [multi_hot(name, [column[row] for row in rows]) for name, column in table.token_seq.items()]
    parts += [standardised(name, column[list(rows)]) for name, column in table.number.items()]
    return Features.joined(parts, len(rows))
