"""The public item catalogue: ids, titles and content. Holds nothing about any user."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from fedrec.errors import DataError

FILES = ("catalogue.json", "catalogue.safetensors")
"""What a catalogue's folder holds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """Content of one modality, where it is known.

    ``values``: float32 ``[num_items, ...]``, finite, meaningless where it is not. ``present``: bool ``[num_items]``.
    """

    values: NDArray[np.float32]
    present: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.present.dtype != np.bool_:
            raise ValueError(f"content must be float32 and bool, got {self.values.dtype} and {self.present.dtype}")
        if self.present.shape != self.values.shape[:1]:
            raise ValueError(f"{len(self.values)} items need as many marks of presence, got {self.present.shape}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """What server and devices agree on about items.

    ``item_ids``: raw ids by item code. ``titles``: one a code, the id where none is known. ``features``: float32
    ``[num_items, num_features]``, finite. ``feature_names``: one a column. ``described``: bool ``[num_items]``, which
    items have features; all, unless it is given. ``images``: float32 ``[num_items, channels, height, width]``.
    ``texts``: float32 ``[num_items, width]``, vectors that a text encoder made once. Either may be None.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    features: NDArray[np.float32]
    feature_names: tuple[str, ...]
    described: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    images: Known | None = None
    texts: Known | None = None

    def __post_init__(self) -> None:
        if not len(self.described):
            object.__setattr__(self, "described", np.ones(len(self.item_ids), np.bool_))
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
        if self.described.shape != (len(self.item_ids),):
            raise ValueError(f"described must be one mark an item, got shape {self.described.shape}")
        for what, known, axes in (("image", self.images, 4), ("text", self.texts, 2)):
            if known is not None:
                self._check(what, known, axes)

    def _check(self, what: str, known: Known, axes: int) -> None:
        """Raise where content of the modality ``what`` is not as the class says."""
        if known.values.ndim != axes or len(known.values) != len(self.item_ids):
            raise ValueError(f"{what}s must have {axes} axes and {len(self.item_ids)} items, got {known.values.shape}")
        finite = np.isfinite(known.values.reshape(len(known.values), -1)).all(axis=1)
        if not finite.all():
            item = self.item_ids[int(np.argmin(finite))]
            raise DataError(f"the {what} of item {item!r} holds a number that is not finite: mend or remove it")

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
        """SHA-256 over ids, feature names and content bytes: equal where codes and content mean the same."""
        head = json.dumps([self.item_ids, self.feature_names], ensure_ascii=False).encode()
        digest = hashlib.sha256(head + np.ascontiguousarray(self.features).tobytes())
        for name, array in self._further().items():
            digest.update(json.dumps([name, array.shape]).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _further(self) -> dict[str, NDArray[np.float32] | NDArray[np.bool_]]:
        """Return what there is beside features of all items, by name; values of what is absent are zeros."""
        found: dict[str, NDArray[np.float32] | NDArray[np.bool_]] = {}
        if not self.described.all():
            found["described"] = self.described
        for name, known in (("images", self.images), ("texts", self.texts)):
            if known is not None:
                absent = ~known.present
                found[name] = known.values.copy() if absent.any() else known.values
                found[name][absent] = 0
                found[f"{name}.present"] = known.present
        return found

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
        content = {"features": self.features, **self._further()}
        save_file({name: np.ascontiguousarray(array) for name, array in content.items()}, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; raise ``DataError`` if it is not there."""
        text, arrays = (folder / name for name in FILES)
        try:
            names = json.loads(text.read_text(encoding="utf-8"))
            content = load_file(arrays)
        except FileNotFoundError as error:
            raise DataError(f"no catalogue in {folder}: {error.filename or 'a file'} is missing") from error
        return cls(
            item_ids=tuple(names["item_ids"]),
            titles=tuple(names["titles"]),
            features=content["features"],
            feature_names=tuple(names["feature_names"]),
            described=content.get("described", np.empty(0, np.bool_)),
            images=_known(content, "images"),
            texts=_known(content, "texts"),
        )


def _known(content: Mapping[str, NDArray[Any]], name: str) -> Known | None:
    return Known(values=content[name], present=content[f"{name}.present"]) if name in content else None
