import json
from pathlib import Path

import numpy as np
import pytest

from fedrec.data.canaries import Canaries
from fedrec.errors import ConfigError, DataError
from fedrec.runs.canaries import read_canaries, write_canaries


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "audit" / "canaries.json"
    write_canaries(written, Canaries(rows=np.array([5, 6, 7]), coins=np.array([True, False, True])))
    return written


def test_what_was_written_is_read(path: Path) -> None:
    found = read_canaries(path)
    assert found.rows.tolist() == [5, 6, 7]
    assert found.coins.tolist() == [True, False, True]


def test_its_owner_alone_may_read_it(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_file_is_named_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"canaries\.json does not exist.*fedrec simulate --audit"):
        read_canaries(tmp_path / "canaries.json")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is not valid JSON"),
        ("[]", "does not list items and coins"),
        ('{"schema": 1}', "does not list items and coins"),
        ('{"schema": 1, "items": [1, 2], "took_part": [0.5, 1]}', "does not list items and coins"),
        ('{"schema": 1, "items": [1, 2], "took_part": [true]}', "does not list items and coins"),
        ('{"schema": 2, "items": [1], "took_part": [true]}', "schema 2 is not 1"),
    ],
)
def test_a_damaged_file_is_named(path: Path, content: str, what: str) -> None:
    path.write_text(content)
    with pytest.raises(DataError, match=what) as refused:
        read_canaries(path)
    assert str(path) in str(refused.value)


def test_it_is_plain_json(path: Path) -> None:
    assert set(json.loads(path.read_text())) == {"schema", "items", "took_part"}
