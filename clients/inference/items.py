"""What the local service reads of an installed catalogue: ids and titles, and attributes of a few items at a time.

``Catalogue.load`` would hold all features, images and texts in memory, of which a list needs nothing.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from clients.artefacts import versions
from fedrec.data.canaries import RESERVED
from fedrec.errors import DataError

NAMES, FEATURES = "catalogue.json", "catalogue.safetensors"
POPULARITY = "popularity.npy"
"""Released item counts beside a catalogue, float32 ``[num_items]``: what ranks before the first model."""
MAX_BYTES = 256 << 20
"""Longest list of names that is parsed."""


class Items:
    """The items of one installed version of a catalogue, by code."""

    def __init__(
        self,
        item_ids: Sequence[str],
        titles: Sequence[str],
        popularity: NDArray[np.float32] | None = None,
        feature_names: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        if len(set(item_ids)) != len(item_ids) or len(titles) != len(item_ids):
            raise DataError("the catalogue names an item twice, or has not one title for each: fetch it again")
        self.item_ids = tuple(item_ids)
        self.titles = tuple(titles)
        self.popularity = popularity
        self.reserved = np.flatnonzero([item_id.startswith(RESERVED) for item_id in item_ids])
        self._feature_names = feature_names
        self._folder = folder

    @classmethod
    def load(cls, folder: Path) -> "Items":
        """Read an installed version; ``DataError`` if it is missing, or not what its manifest says."""
        path = folder / NAMES
        digests = versions.digests(folder)
        content = versions.read_checked(path, digests, MAX_BYTES)
        try:
            table = json.loads(content)
            item_ids, titles, features = (table[key] for key in ("item_ids", "titles", "feature_names"))
            if not all(isinstance(text, str) for text in [*item_ids, *titles, *features]):
                raise ValueError("ids, titles and names must be texts")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as a catalogue: {error}") from error
        return cls(item_ids, titles, _popularity(folder / POPULARITY, len(item_ids)), features, folder)

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def codes(self) -> dict[str, int]:
        """Item code by raw id."""
        return {item_id: code for code, item_id in enumerate(self.item_ids)}

    @cached_property
    def attribute_columns(self) -> Mapping[int, str]:
        """Columns of ``features`` that are attributes, ``genre=Drama``, by position; numbers are none."""
        return {column: name for column, name in enumerate(self._feature_names) if "=" in name}

    def features(self, codes: Sequence[int]) -> NDArray[np.float32]:
        """Return the features of some items, float32 ``[len(codes), num_features]``, read from the disk.

        Zeros where the file cannot be read: a list is worth more than its reasons.
        """
        found = np.zeros((len(codes), len(self._feature_names)), np.float32)
        if self._folder is None:
            return found
        try:
            with safe_open(self._folder / FEATURES, framework="numpy") as file:
                rows = file.get_slice("features")
                for at, code in enumerate(codes):
                    found[at] = rows[code : code + 1][0]
        except (OSError, SafetensorError, ValueError, IndexError):
            return np.zeros_like(found)
        return found


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
