"""Per-user results as one Parquet table, for tools that read tables; fedrec itself reads the NumPy file beside it."""

from collections.abc import Mapping
from io import BytesIO
from types import ModuleType

import numpy as np

from fedrec.evaluation.metrics import RankingResult


def to_parquet(results: Mapping[str, RankingResult]) -> bytes | None:
    """Return a row a scorer and user with columns ``scorer``, ``user`` and one a metric; None without pyarrow.

    Metrics that a scorer lacks are null.
    """
    found = _pyarrow()
    if found is None:
        return None
    arrow, parquet = found
    metrics = list(dict.fromkeys(name for result in results.values() for name in result.values))
    columns = {
        "scorer": arrow.array(np.repeat(list(results), [result.num_users for result in results.values()])),
        "user": arrow.array(np.concatenate([np.empty(0, np.int64), *[result.users for result in results.values()]])),
    }
    for name in metrics:
        parts = [result.values.get(name, np.full(result.num_users, np.nan)) for result in results.values()]
        columns[name] = arrow.array(np.concatenate(parts), from_pandas=True)  # NaN marks what was not measured
    buffer = BytesIO()
    parquet.write_table(arrow.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def _pyarrow() -> tuple[ModuleType, ModuleType] | None:
    try:
        # pyarrow is an extra: a run is complete without this table
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    return pyarrow, pyarrow.parquet
