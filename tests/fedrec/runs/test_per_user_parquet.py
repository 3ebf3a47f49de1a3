import sys

import numpy as np
import pytest

from fedrec.evaluation.metrics import RankingResult


@pytest.fixture
def floor():
    return RankingResult(users=np.array([2, 5]), values={"mrr": np.array([0.25, 0.75])})


def test_the_table_holds_what_the_numpy_file_holds(folder, result, floor):
    parquet = pytest.importorskip("pyarrow.parquet")

    folder.write_per_user({"model": result, "ease": floor})

    table = parquet.read_table(folder.per_user_parquet_path).to_pydict()
    assert table["scorer"] == ["model"] * 3 + ["ease"] * 2
    assert table["user"] == [0, 2, 5, 2, 5]
    assert table["mrr"] == [0.2, 0.1, 0.3, 0.25, 0.75]
    assert table["hr@10"] == [1.0, 0.0, 0.5, None, None]


def test_without_pyarrow_the_numpy_file_is_written_alone(folder, result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    folder.write_per_user({"model": result})

    assert not folder.per_user_parquet_path.exists()
    assert folder.per_user()["model"].users.tolist() == [0, 2, 5]
