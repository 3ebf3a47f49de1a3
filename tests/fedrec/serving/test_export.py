"""What a server publishes of a run, read back as a device reads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.inference.folding import Folding
from clients.inference.queries import History
from clients.inference.scoring import Scorer
from fedrec.cli.recommend import choose, load_trained
from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError, DataError, ModelMismatchError
from fedrec.ranking import top_k
from fedrec.runs.folder import RunFolder
from fedrec.serving.export import export_catalogue, export_run
from fedrec.serving.package import ServedModel, unservable

MakeRun = Callable[..., Path]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(
    "local", [{}, {"private_start": "ridge"}, {"private_start": "rebuilt", "private_steps": 3}], ids=str
)
def test_a_device_recommends_what_fedrec_recommend_does(
    make_run: MakeRun, tmp_path: Path, local: dict[str, Any], average: bool
) -> None:
    run = make_run(average=average, training={"local": local})
    export_run(run, tmp_path / "served")
    model = ServedModel.load(tmp_path / "served")
    scorer, codes = Scorer(model), np.array([1, 4, 7, 2], np.int32)
    history = History(items=codes.astype(np.int64))
    scores = scorer.scores(Folding(scorer).fit(history), history)
    expected = choose(load_trained(RunFolder.open(run)), codes, 5, with_reasons=False)
    assert top_k(scores, 5, codes).tolist() == [pick.item for pick in expected]
    np.testing.assert_allclose([scores[pick.item] for pick in expected], [pick.score for pick in expected], rtol=1e-3)


def test_the_head_says_which_run_round_and_catalogue_it_is_of(
    make_run: MakeRun, tmp_path: Path, items: Catalogue
) -> None:
    export_run(make_run(), tmp_path / "served")
    model = ServedModel.load(tmp_path / "served")
    assert (model.head.run, model.head.round, model.head.catalogue_digest) == ("run-7", 4, items.digest)
    assert model.item_ids == items.item_ids


def test_nothing_that_only_training_reads_is_published(make_run: MakeRun, tmp_path: Path) -> None:
    export_run(make_run(), tmp_path / "served")
    names = set(ServedModel.load(tmp_path / "served").arrays)
    assert not [name for name in names if "optimizer" in name or "item_tower" in name or "popularity" in name]


def test_a_catalogue_goes_with_released_counts(make_run: MakeRun, tmp_path: Path, items: Catalogue) -> None:
    export_catalogue(make_run(), tmp_path / "catalogue")
    assert Catalogue.load(tmp_path / "catalogue").digest == items.digest
    np.testing.assert_array_equal(np.load(tmp_path / "catalogue" / "popularity.npy"), np.arange(12, dtype=np.float32))


@pytest.mark.parametrize("left_out", [{"popularity": False}, {"checkpoint": False}], ids=str)
def test_a_catalogue_goes_without_counts_where_none_were_released(
    make_run: MakeRun, tmp_path: Path, left_out: dict[str, bool]
) -> None:
    export_catalogue(make_run(**left_out), tmp_path / "catalogue")
    assert sorted(path.name for path in (tmp_path / "catalogue").iterdir()) == [
        "catalogue.json",
        "catalogue.safetensors",
    ]


def test_a_run_without_a_checkpoint_has_no_model(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        export_run(make_run(checkpoint=False), tmp_path / "served")


def test_a_damaged_checkpoint_is_not_published(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    (path,) = run.glob("checkpoints/*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        export_run(run, tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_what_devices_cannot_serve_is_refused_by_name(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedrec.serving.package.BRANCHES", ("cf", "mf"))
    with pytest.raises(ModelMismatchError, match="cannot serve the branch 'seq'"):
        export_run(make_run(), tmp_path / "served")


def test_a_folder_that_holds_a_model_is_not_written_over(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    export_run(run, tmp_path / "served")
    with pytest.raises(DataError, match="holds a served model already"):
        export_run(run, tmp_path / "served")


def test_exporting_twice_gives_the_same_bytes(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for name in ("one", "two"):
        export_run(run, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_unknown_parts_are_named_at_reading(make_run: MakeRun, tmp_path: Path) -> None:
    export_run(make_run(), tmp_path / "served")
    path = tmp_path / "served" / "model.json"
    head = json.loads(path.read_bytes())
    head["settings"]["sequence_encoder"] = "mamba"
    path.write_text(json.dumps(head))
    with pytest.raises(DataError, match=r"how to serve sequence_encoder='mamba': upgrade fedrec"):
        ServedModel.load(tmp_path / "served")
    assert unservable({"branches": [], "members": ["oracle"]}) == "the member 'oracle'"
