"""Image-shaped content from a file of arrays: item ids and one array of images. Knows no picture formats."""

import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from fedrec.errors import DataError

IDS, IMAGES = "item_ids", "images"
"""What a file of images holds, by name."""


def read_images(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return images by item id, float32 ``[channels, height, width]`` each.

    ``.npz``: arrays ``item_ids`` (text) and ``images`` ``[n, channels, height, width]``. ``.safetensors``: the tensor
    ``images``, and in the metadata ``item_ids`` as a JSON list. Whole numbers of 8 bits are divided by 255. Nothing in
    a file is executed: pickled arrays are refused. Raise ``DataError`` naming the file and what is wrong.
    """
    if not path.is_file():
        raise DataError(f"data.images={str(path)!r} is no file: check the path")
    try:
        ids, images = _from_npz(path) if path.suffix == ".npz" else _from_safetensors(path)
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile, SafetensorError) as error:
        raise DataError(
            f"{path} must hold {IDS} and {IMAGES}, as a .npz file without pickled arrays or a .safetensors file with "
            f"the ids in its metadata ({error})"
        ) from error
    if images.ndim != 4 or len(images) != len(ids) or 0 in images.shape[1:]:
        raise DataError(f"{path}: {IMAGES} must be [{len(ids)}, channels, height, width], got {images.shape}")
    if len(set(ids)) != len(ids):
        raise DataError(f"{path}: {IDS} are not unique: give each item one image")
    scaled = images.astype(np.float32) / np.float32(255 if images.dtype == np.uint8 else 1)
    if not np.isfinite(scaled).all():
        raise DataError(f"{path}: {IMAGES} hold a number that is not finite: mend or remove that image")
    return dict(zip(ids, scaled, strict=True))


def _from_npz(path: Path) -> tuple[list[str], NDArray[np.generic]]:
    with np.load(path, allow_pickle=False) as arrays:
        return [str(item_id) for item_id in arrays[IDS].tolist()], arrays[IMAGES]


def _from_safetensors(path: Path) -> tuple[list[str], NDArray[np.generic]]:
    with safe_open(path, framework="np") as file:
        return [str(item_id) for item_id in json.loads(file.metadata()[IDS])], file.get_tensor(IMAGES)
