"""What the local service reads of an installed catalogue: ids and titles, and attributes of a few items at a time.

``Catalogue.load`` would hold all features, images and texts in memory, of which a list needs nothing.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedrec.data.canaries import RESERVED
from fedrec.errors import DataError

NAMES = "catalogue.json"
POPULARITY = "popularity.npy"
"""Released item counts beside a catalogue, float32 ``[num_items]``: what ranks before the first model."""
MAX_BYTES = 256 << 20
"""Longest list of names that is parsed."""


class Items:
    """The items of one installed version of a catalogue, by code."""

    def __init__(
        self, item_ids: Sequence[str], titles: Sequence[str], popularity: NDArray[np.float32] | None = None
    ) -> None:
        if len(set(item_ids)) != len(item_ids) or len(titles) != len(item_ids):
            raise DataError("the catalogue names an item twice, or has not one title for each: fetch it again")
        self.item_ids = tuple(item_ids)
        self.titles = tuple(titles)
        self.popularity = popularity
        self.reserved = np.flatnonzero([item_id.startswith(RESERVED) for item_id in item_ids])

    @classmethod
    def load(cls, folder: Path) -> "Items":
        """Read an installed version; ``DataError`` if it is missing or damaged."""
        path = folder / NAMES
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError("it is too long")
            table = json.loads(path.read_bytes())
            item_ids, titles = table["item_ids"], table["titles"]
            if not all(isinstance(text, str) for text in [*item_ids, *titles]):
                raise ValueError("ids and titles must be texts")
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist: there is no catalogue in {folder}") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as a catalogue: {error}") from error
        return cls(item_ids, titles, _popularity(folder / POPULARITY, len(item_ids)))

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def codes(self) -> dict[str, int]:
        """Item code by raw id."""
        return {item_id: code for code, item_id in enumerate(self.item_ids)}


def _popularity(path: Path, num_items: int) -> NDArray[np.float32] | None:
    try:
        counts = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged: fetch the catalogue again") from error
    if counts.shape != (num_items,) or counts.dtype != np.float32 or not np.isfinite(counts).all():
        raise DataError(f"{path} must hold a number for each of {num_items} items: fetch the catalogue again")
    found: NDArray[np.float32] = counts
    return found
