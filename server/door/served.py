"""Looking at a served model's files before devices get them. By numpy alone."""

from pathlib import Path

import numpy as np

from fedrec.errors import DataError
from fedrec.serving.package import ServedModel


def oddity(folder: Path) -> str | None:
    """Return what is wrong with a served model's files: damaged, or a number that is not finite; None for nothing."""
    try:
        model = ServedModel.load(folder)
    except DataError as error:
        return str(error)
    for name, array in {**model.arrays, **model.rows}.items():
        if array.size and np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            return f"{name} holds a number that is not finite"
    return None
