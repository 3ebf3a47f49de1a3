"""The public item catalogue: ids, titles and content features. Holds nothing about any user."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from fedrec.errors import DataError

FILES = ("catalogue.json", "catalogue.safetensors")
"""What a catalogue's folder holds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """What server and devices agree on about items.

    ``item_ids``: raw ids by item code. ``titles``: one a code, the id where none is known. ``features``: float32
    ``[num_items, num_features]``, finite. ``feature_names``: one a column.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    features: NDArray[np.float32]
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.item_ids) < 2:
            raise DataError(f"a catalogue needs at least 2 items to rank, got {len(self.item_ids)}: use more data")
        if len(set(self.item_ids)) != len(self.item_ids):
            raise DataError("item ids in the catalogue are not unique: remove the duplicate rows of the item table")
        if len(self.titles) != len(self.item_ids):
            raise ValueError(f"{len(self.item_ids)} items need as many titles, got {len(self.titles)}")
        if self.features.shape != (len(self.item_ids), len(self.feature_names)):
            raise ValueError(f"features must be {(len(self.item_ids), len(self.feature_names))}")
        bad = np.argwhere(~np.isfinite(self.features))
        if len(bad):
            item, column = bad[0]
            raise DataError(
                f"feature {self.feature_names[column]!r} of item {self.item_ids[item]!r} is not a finite number: "
                "fill or remove it in the item table"
            )

    @property
    def num_items(self) -> int:
        """Items that can be recommended."""
        return len(self.item_ids)

    @cached_property
    def codes(self) -> dict[str, int]:
        """Item code by raw id."""
        return {item_id: code for code, item_id in enumerate(self.item_ids)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, feature names and feature bytes: equal where codes and content mean the same."""
        head = json.dumps([self.item_ids, self.feature_names], ensure_ascii=False).encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.features).tobytes()).hexdigest()

    def code_of(self, item_id: str) -> int:
        """Return the code of a raw id; raise ``DataError`` with near ids if it is unknown."""
        code = self.codes.get(item_id)
        if code is None:
            raise DataError(
                f"item {item_id!r} is not in the catalogue of {self.num_items} items; {self._hint(item_id)}"
            )
        return code

    def _hint(self, item_id: str) -> str:
        near = [known for known in self.item_ids if item_id and known.startswith(item_id[:2])][:3] or self.item_ids[:3]
        return f"known ids look like {', '.join(near)}"

    def save(self, folder: Path) -> None:
        """Write ``catalogue.json`` and ``catalogue.safetensors`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        names = {"item_ids": self.item_ids, "titles": self.titles, "feature_names": self.feature_names}
        text, arrays = (folder / name for name in FILES)
        text.write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
        save_file({"features": np.ascontiguousarray(self.features)}, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; raise ``DataError`` if it is not there."""
        text, arrays = (folder / name for name in FILES)
        try:
            names = json.loads(text.read_text(encoding="utf-8"))
            features = load_file(arrays)["features"]
        except FileNotFoundError as error:
            raise DataError(f"no catalogue in {folder}: {error.filename or 'a file'} is missing") from error
        return cls(
            item_ids=tuple(names["item_ids"]),
            titles=tuple(names["titles"]),
            features=features,
            feature_names=tuple(names["feature_names"]),
        )
