"""``audit/canaries.json`` of a run: which canaries took part. Secret until the run is over; training never reads it."""

import json
from pathlib import Path

import numpy as np

from fedrec.data.canaries import Canaries
from fedrec.errors import ConfigError, DataError
from fedrec.runs.atomic import write_atomically

SCHEMA = 1


def write_canaries(path: Path, canaries: Canaries) -> None:
    """Write the file whole, for its owner alone to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"schema": SCHEMA, "items": canaries.rows.tolist(), "took_part": canaries.coins.tolist()}
    write_atomically(path, (json.dumps(table) + "\n").encode(), mode=0o600)


def read_canaries(path: Path) -> Canaries:
    """Read what ``write_canaries`` wrote; ``ConfigError`` if it is not there, ``DataError`` if it is damaged."""
    try:
        table = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist: the run has no canaries; make one with fedrec simulate --audit"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: restore it, or repeat the run") from error
    try:
        if table["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {table['schema']} is not {SCHEMA}: use the fedrec that wrote it")
        rows, coins = np.array(table["items"]), np.array(table["took_part"])
        if rows.dtype != np.int64 or coins.dtype != np.bool_:
            raise TypeError
        return Canaries(rows=rows, coins=coins)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not list items and coins of canaries: restore it, or repeat the run") from error
