"""The served model as files: arrays and their meaning. Read on devices by numpy alone.

    model.json          head: what the arrays mean (``ServedHead``), and the SHA-256 of the other files
    items.json          raw item ids by item code: a list is remapped by them, never by position
    model.safetensors   what every request reads: held in memory
    rows.safetensors    what requests look rows up in: stays on the disk; absent where there is nothing of the kind

Item tables lie with items along the last axis, ``[width, num_items]``: so a product with a query streams through memory
(twice as fast as rows on an x86 core). Nothing here is unpickled or run.
"""

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError

SCHEMA = 1
HEAD, ITEMS, ARRAYS, ROWS = "model.json", "items.json", "model.safetensors", "rows.safetensors"

MAX_HEAD_BYTES = 1 << 20
"""Longest head, of the model or of an array file, that is parsed."""
MAX_ITEMS_BYTES = 256 << 20
"""Longest list of item ids that is parsed."""

TABLE, NETWORK, MEMBER, PRIVATE, MIXING = "table.", "network.", "member.", "private.", "mixing."
"""Prefixes of arrays: item tables ``[width, num_items]``; the shared networks' parameters; members' tensors by
``<member>.<tensor>``; one user's private parameters before any training; the fusion's."""
FUSION = "fusion"
"""Weights of the trained branches in their sum, ``[num_branches]``."""
CENTRE = NETWORK + "neighbours.centre"
"""What was taken off every column of the neighbours' table, ``[width]``."""
COVARIANCE, MEANS = "covariance", "means"
"""Of the tables that are asked by inner products, side by side in order of name: float64 ``[W, W]`` and ``[W]`` over
items. They tell the deviation of the branches' sum without a second product with the tables."""
NONLINEAR = "neumf_hidden"
"""The one table whose scores are no inner products."""

BRANCHES = ("cf", "siamese", "neumf", "autoencoder", "mf", "seq", "neighbours")
MEMBERS = ("popularity", "recent-popularity", "ease", "knn", "markov", "ials", "pca", "nearby", "content")
ENCODERS = ("gru", "lstm", "sasrec", "cnn")
SCOPES = ("shared", "private", "hybrid")
"""What a device's scorer knows how to serve. Anything else is refused by name, at export and at reading."""

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "F64": np.dtype("<f8")}

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class FoldIn:
    """How a user's private vectors are fitted where no trainer left any.

    ``way``: ``ridge`` in closed form with ``ridge`` and ``ridge_unobserved``; ``steps`` of ``optimizer`` at ``rate``.
    """

    way: str = "steps"
    ridge: float = 1.0
    ridge_unobserved: float = 0.1
    steps: int = 5
    rate: float = 0.03
    optimizer: str = "adagrad"


@dataclass(frozen=True, kw_only=True)
class ServedHead:
    """What a served model is.

    ``run``: the run that it is of, to which a device's private parameters belong. ``round``: after which it was taken.
    ``catalogue_digest``: of the catalogue that item codes count in. ``settings``: those of ``ModelConfig`` that scoring
    reads, as plain JSON. ``files``: SHA-256 of the other files by name.
    """

    run: str
    round: int
    catalogue_digest: str
    num_items: int
    settings: Mapping[str, Any]
    fold_in: FoldIn
    files: Mapping[str, str]
    schema: int = SCHEMA

    def to_json(self) -> bytes:
        """Return the file of this head."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read what ``to_json`` wrote; ``ValueError``, ``KeyError`` or ``TypeError`` where it is something else."""
        table = json.loads(content)
        if table["schema"] != SCHEMA:
            raise ValueError(f"schema {table['schema']} is not {SCHEMA}: upgrade fedrec on this device")
        table["fold_in"] = FoldIn(**table["fold_in"])
        head = cls(**table)
        if type(head.num_items) is not int or head.num_items < 2 or not isinstance(head.settings, dict):
            raise ValueError("num_items or settings make no sense")
        unknown = unservable(head.settings)
        if unknown:
            raise ValueError(f"this device does not know how to serve {unknown}: upgrade fedrec on it")
        return head


def unservable(settings: Mapping[str, Any]) -> str:
    """Return, in words, the first part of a model that no device's scorer knows; empty where it knows all of them."""
    odd = [f"the branch {name!r}" for name in settings["branches"] if name not in BRANCHES]
    odd += [f"the member {name!r}" for name in settings["members"] if name not in MEMBERS]
    if "seq" in settings["branches"]:
        choices: dict[str, tuple[str, ...]] = {"sequence_encoder": ENCODERS, "sequence_scope": SCOPES}
        odd += [f"{key}={settings[key]!r}" for key, known in choices.items() if settings[key] not in known]
    return odd[0] if odd else ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedModel:
    """A served model in memory. ``arrays``: float32 by name; those of ``rows`` are read from the disk as needed."""

    head: ServedHead
    item_ids: tuple[str, ...]
    arrays: Mapping[str, Array]
    rows: Mapping[str, Array] = field(default_factory=dict)

    @property
    def num_items(self) -> int:
        """Items that it knows."""
        return self.head.num_items

    @classmethod
    def load(cls, folder: Path, digests: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Read and check what ``write_model`` wrote; raise ``DataError`` naming the file that is missing or damaged.

        ``digests``: SHA-256 of files by name, where a manifest says them; the head itself says those of the others.
        """
        head = _read_head(folder / HEAD, digests.get(HEAD))
        arrays = read_arrays(folder / ARRAYS, head.files.get(ARRAYS, ""))
        rows = map_arrays(folder / ROWS, head.files[ROWS]) if ROWS in head.files else {}
        item_ids = _read_items(folder / ITEMS, head)
        return cls(head=head, item_ids=item_ids, arrays=arrays, rows=rows)


def write_model(
    folder: Path, head: ServedHead, item_ids: tuple[str, ...], arrays: Mapping[str, Array], rows: Mapping[str, Array]
) -> None:
    """Write a served model; ``head.files`` is filled in here. ``folder`` is made, and must hold none yet."""
    from safetensors.numpy import save  # reading needs none of it

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / HEAD).exists():
        raise DataError(f"{folder} holds a served model already: name another folder")
    contents = {ITEMS: json.dumps(list(item_ids), ensure_ascii=False).encode()}
    contents[ARRAYS] = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    if rows:
        contents[ROWS] = save({name: np.ascontiguousarray(array) for name, array in rows.items()})
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / HEAD).write_bytes(ServedHead(**{**vars(head), "files": files}).to_json())


def read_arrays(path: Path, sha256: str) -> dict[str, Array]:
    """Return the arrays of a safetensors file, held in memory once; ``DataError`` if it has another hash or form."""
    try:
        content = bytearray(path.stat().st_size)
        with path.open("rb") as file:
            file.readinto(content)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} is damaged: it does not have the hash that {HEAD} says")
    return _views(memoryview(content), path)


def map_arrays(path: Path, sha256: str) -> dict[str, Array]:
    """Return the same as views of the file on the disk, of which only what is looked up comes into memory."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if digest.hexdigest() != sha256:
        raise DataError(f"{path} is damaged: it does not have the hash that {HEAD} says")
    return _views(memoryview(mapped), path)


def _views(content: memoryview, path: Path) -> dict[str, Array]:
    """Return arrays that are views of a safetensors file's bytes (8 bytes of length, JSON head, data)."""
    try:
        length = int.from_bytes(content[:8], "little")
        if not 2 <= length <= min(MAX_HEAD_BYTES, len(content) - 8):
            raise ValueError("its head has an impossible length")
        head = json.loads(bytes(content[8 : 8 + length]))
        data = content[8 + length :]
        return {name: _view(data, **entry) for name, entry in head.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} is not a file of arrays: {error}") from error


def _view(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> Array:
    start, end = data_offsets
    kind: np.dtype[Any] = _DTYPES[dtype]
    if any(type(side) is not int or side < 0 for side in shape) or not 0 <= start <= end <= len(data):
        raise ValueError("an array lies outside of the file")
    array: Array = np.frombuffer(data[start:end], dtype=kind).reshape(shape)
    return array


def _read_head(path: Path, sha256: str | None) -> ServedHead:
    try:
        if path.stat().st_size > MAX_HEAD_BYTES:
            raise ValueError("it is too long")
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("it does not have the hash that was signed for it")
        return ServedHead.from_json(content)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: there is no served model in {path.parent}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not the head of a served model: {error}") from error


def _read_items(path: Path, head: ServedHead) -> tuple[str, ...]:
    try:
        if path.stat().st_size > MAX_ITEMS_BYTES:
            raise ValueError("it is too long")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != head.files[ITEMS]:
            raise ValueError(f"it does not have the hash that {HEAD} says")
        ids = json.loads(content)
        if not isinstance(ids, list) or not all(isinstance(item_id, str) for item_id in ids):
            raise ValueError("it is no list of ids")
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as item ids: {error}") from error
    if len(ids) != head.num_items or len(set(ids)) != len(ids):
        raise DataError(f"{path} must name each of the {head.num_items} items once: the model was put together wrongly")
    return tuple(ids)
