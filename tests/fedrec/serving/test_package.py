"""A served model's files: whole or refused, whatever bytes lie there."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.errors import DataError
from fedrec.serving.export import export_run
from fedrec.serving.package import ServedModel, map_arrays, read_arrays

MakeRun = Callable[..., Path]


@pytest.fixture
def folder(make_run: MakeRun, tmp_path: Path) -> Path:
    model = {"dim": 4, "history_length": 5, "branches": ["cf", "mf", "autoencoder"], "members": ["ease", "popularity"]}
    export_run(make_run(model=model), tmp_path / "served")
    return tmp_path / "served"


def test_what_requests_only_look_up_stays_on_the_disk(folder: Path) -> None:
    model = ServedModel.load(folder)
    assert set(model.rows) == {"autoencoder.encoder", "member.ease.weights"}
    assert not any(array.flags.writeable for array in model.rows.values())


def test_arrays_are_views_of_one_block_of_memory(folder: Path) -> None:
    model = ServedModel.load(folder)
    addresses = sorted(array.__array_interface__["data"][0] for array in model.arrays.values())
    assert addresses[-1] - addresses[0] < (folder / "model.safetensors").stat().st_size


@pytest.mark.fault
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_any_flipped_byte_of_any_file_is_found(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from(["items.json", "model.safetensors", "rows.safetensors"]))
    before = path.read_bytes()
    content = bytearray(before)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        with pytest.raises(DataError):
            ServedModel.load(folder)
    finally:
        path.write_bytes(before)


@pytest.mark.abuse
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(head=st.binary(max_size=60) | st.text('{}[]":,-0123456789dtypeshapF32_ofs', max_size=80).map(str.encode))
def test_files_of_arrays_that_a_liar_wrote_are_refused_or_within_their_bounds(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "arrays"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(64))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for read in (read_arrays, map_arrays):
        try:
            found = read(path, digest)
        except DataError:
            continue
        assert sum(array.nbytes for array in found.values()) <= 64 * max(len(found), 1)


@pytest.mark.abuse
@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
        {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]},
        {"dtype": "O", "shape": [2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], "more": 1},
        {"dtype": "F32", "shape": [2.0, 2], "data_offsets": [0, 16]},
        [1, 2],
    ],
    ids=str,
)
def test_an_array_that_does_not_lie_in_its_file_is_refused(tmp_path: Path, entry: object) -> None:
    head = json.dumps({"a": entry}).encode()
    path = tmp_path / "arrays"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(16))
    with pytest.raises(DataError, match="is not a file of arrays"):
        read_arrays(path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.abuse
@pytest.mark.parametrize(
    ("name", "value"), [("num_items", 11), ("num_items", "12"), ("schema", 2), ("settings", []), ("more", 1)]
)
def test_a_head_that_makes_no_sense_is_refused(folder: Path, name: str, value: object) -> None:
    path = folder / "model.json"
    head = json.loads(path.read_bytes())
    head[name] = value
    path.write_text(json.dumps(head))
    with pytest.raises(DataError):
        ServedModel.load(folder)


@pytest.mark.process
def test_reading_and_scoring_import_no_torch(folder: Path) -> None:
    code = (
        "import sys; import numpy as np; from pathlib import Path\n"
        "from fedrec.serving.package import ServedModel\n"
        "from clients.inference.scoring import Scorer; from clients.inference.queries import History\n"
        "import clients.inference.recommender, clients.artefacts.checks\n"
        "model = ServedModel.load(Path(sys.argv[1])); scorer = Scorer(model)\n"
        "print(scorer.scores(scorer.template, History(items=np.array([1, 2]))).shape)\n"
        "print([name for name in ('torch', 'scipy', 'flwr', 'pandas', 'pydantic') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["(12,)", "[]"]
    assert np.prod(ServedModel.load(folder).arrays["table.bias"].shape) == 12
