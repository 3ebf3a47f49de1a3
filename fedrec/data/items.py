"""The item table as it was read, and the public catalogue built from it. Knows no interactions."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedrec.data.catalogue import Catalogue, Known
from fedrec.data.features import Features, multi_hot, one_hot, standardised
from fedrec.data.text import TextEncoder

TITLE = "title"
"""The text column that is shown to people; like all text it is never a feature."""

TEXT = "text"
"""The column of running text, which a text encoder reads after the title."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemTable:
    """Columns of item content by kind and name, one value an item.

    ``token``: one word, blank if missing. ``token_seq``: any number of words. ``number``: float64 ``[num_items]``, NaN
    if missing. ``text``: running text, for people and text encoders.
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


def build_catalogue(
    item_ids: Sequence[str],
    table: ItemTable | None,
    images: Mapping[str, NDArray[np.float32]] | None = None,
    encoder: TextEncoder | None = None,
) -> Catalogue:
    """Return the catalogue of ``item_ids``, in their order, with what ``table`` says of them.

    Features are fitted on content alone, of the items that are in both: years in coarse buckets, tokens multi-hot,
    numbers standardised. An item that the table lacks has zero features and its id as title; without a table there are
    no features. Raise ``DataError`` if there are fewer than two items.

    ``images``: float32 ``[channels, height, width]`` by item id, all of one shape. ``encoder``: makes vectors of titles
    and texts, where the table has any.
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
    return Catalogue(
        item_ids=tuple(item_ids),
        titles=tuple(titles),
        features=features,
        feature_names=content.names,
        described=_marks(known, len(item_ids)) if content.names else np.empty(0, np.bool_),
        images=_images(item_ids, images) if images else None,
        texts=_texts(table, rows, known, len(item_ids), encoder) if encoder else None,
    )


def _features(table: ItemTable, rows: Sequence[int]) -> Features:
    parts = [one_hot(name, [column[row] for row in rows]) for name, column in table.token.items()]
    parts += [multi_hot(name, [column[row] for row in rows]) for name, column in table.token_seq.items()]
    parts += [standardised(name, column[list(rows)]) for name, column in table.number.items()]
    return Features.joined(parts, len(rows))


def _images(item_ids: Sequence[str], images: Mapping[str, NDArray[np.float32]]) -> Known | None:
    """Return the items' images, None where no item has one; an item without has zeros and no mark."""
    having = [code for code, item_id in enumerate(item_ids) if item_id in images]
    if not having:
        return None
    values = np.zeros((len(item_ids), *images[item_ids[having[0]]].shape), dtype=np.float32)
    values[having] = [images[item_ids[code]] for code in having]
    return Known(values=values, present=_marks(having, len(item_ids)))


def _texts(
    table: ItemTable, rows: Sequence[int], known: Sequence[int], num_items: int, encoder: TextEncoder
) -> Known | None:
    """Return the vectors of the texts of items ``known``, which are ``rows`` of the table; None where there is none."""
    columns = [table.text[name] for name in (TITLE, TEXT) if name in table.text]
    texts = [". ".join(column[row] for column in columns if column[row]) for row in rows]
    having = [place for place, text in enumerate(texts) if text]
    if not having:
        return None
    vectors = encoder.encode([texts[place] for place in having])
    codes = np.array(known)[having][vectors.any(axis=1)]
    values = np.zeros((num_items, vectors.shape[1]), dtype=np.float32)
    values[codes] = vectors[vectors.any(axis=1)]
    return Known(values=values, present=_marks(codes, num_items))


def _marks(codes: Sequence[int] | NDArray[np.int64], num_items: int) -> NDArray[np.bool_]:
    marks = np.zeros(num_items, dtype=np.bool_)
    marks[codes] = True
    return marks
