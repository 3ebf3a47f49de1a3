"""Content that is signed and still must not count: what does not fit together, or cannot serve."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from clients.artefacts.checks import content_checks
from clients.artefacts.install import install
from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.errors import DataError
from fedrec.models import build_model
from fedrec.serving.export import export_model
from fedrec.serving.package import FoldIn, ServedModel, write_model

Take = Callable[..., Any]
BRANCHES = ("cf", "mf", "seq", "neumf", "autoencoder", "siamese", "neighbours")


@pytest.fixture
def take(tmp_path: Path, publisher: Any) -> Take:
    """Return a function that publishes a folder and installs it with the checks of its content."""

    def take_folder(subject: Any, folder: Path, digest: str, version: int = 1) -> Any:
        manifest = publisher.publish_folder(subject, version, digest, folder)
        checks = content_checks(subject)
        return install(manifest, publisher.signer, subject, tmp_path / "home", publisher.open_file, checks)

    return take_folder


@pytest.fixture
def model_folder(tmp_path: Path, catalogue: Catalogue) -> Path:
    config = ModelConfig(dim=24, history_length=5, branches=BRANCHES, members=("ease", "pca", "popularity"))
    model = build_model(config, catalogue, 0)
    folder = tmp_path / "served"
    export_model(folder, model, model.shared_state(), catalogue, run_id="r", round=1, fold_in=FoldIn())
    return folder


@pytest.fixture
def catalogue_folder(tmp_path: Path, catalogue: Catalogue) -> Path:
    catalogue.save(tmp_path / "catalogue")
    return tmp_path / "catalogue"


def rewritten(folder: Path, **changed: Any) -> Path:
    """Return a folder with a model whose arrays of these names (dots as ``__``) are others: signed, so to say."""
    model = ServedModel.load(folder)
    changes = {name.replace("__", "."): change for name, change in changed.items()}
    parts = [
        {name: changes[name](array.copy()) if name in changes else array for name, array in arrays.items()}
        for arrays in (model.arrays, model.rows)
    ]
    target = folder.with_name("rewritten")
    write_model(target, model.head, model.item_ids, *parts)
    return target


def test_an_honest_model_passes(take: Take, model_folder: Path, catalogue: Catalogue) -> None:
    assert take("model", model_folder, catalogue.digest).fresh


def test_an_honest_catalogue_passes_with_popularity(take: Take, catalogue_folder: Path, catalogue: Catalogue) -> None:
    np.save(catalogue_folder / "popularity.npy", np.arange(9, dtype=np.float32))
    assert take("catalogue", catalogue_folder, catalogue.digest).fresh


@pytest.mark.abuse
@pytest.mark.parametrize("change", ["order", "duplicate", "missing", "features", "popularity", "extra"])
def test_e62_a_catalogue_that_is_not_the_signed_one_is_refused(
    take: Take, catalogue_folder: Path, catalogue: Catalogue, change: str
) -> None:
    path = catalogue_folder / "catalogue.json"
    names = json.loads(path.read_bytes())
    if change == "order":
        names["item_ids"][:2] = names["item_ids"][1::-1]
    elif change == "duplicate":
        names["item_ids"][1] = names["item_ids"][0]
    elif change == "missing":
        names["item_ids"].pop()
        names["titles"].pop()
    path.write_text(json.dumps(names))
    if change == "features":
        arrays = load_file(catalogue_folder / "catalogue.safetensors")
        save_file({**arrays, "features": arrays["features"][::-1].copy()}, catalogue_folder / "catalogue.safetensors")
    elif change == "popularity":
        np.save(catalogue_folder / "popularity.npy", np.arange(8, dtype=np.float32))
    elif change == "extra":
        (catalogue_folder / "run.py").write_text("print('no code is ever taken from a server')")
    with pytest.raises(DataError, match="version 1 of the catalogue is refused"):
        take("catalogue", catalogue_folder, catalogue.digest)


@pytest.mark.abuse
def test_e62_a_model_of_another_catalogue_than_its_manifest_says_is_refused(take: Take, model_folder: Path) -> None:
    with pytest.raises(DataError, match="of another catalogue than the manifest says"):
        take("model", model_folder, "ab" * 32)


@pytest.mark.abuse
@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("table__vectors", lambda a: a[:, :-1], "has 8 rows for 9 items"),
        ("table__factors", lambda a: a * np.where(np.arange(9) == 3, 1e5, 1), "reaches beyond|times as long"),
        ("table__factors", lambda a: a * np.where(np.arange(9) == 3, 9e3, 1), "times as long|reaches beyond"),
        ("table__vectors", lambda a: a * np.nan, "not finite"),
        ("table__bias", lambda a: a + 1, "means is not that of its item tables"),
        ("covariance", lambda a: a * 2, "covariance is not that of its item tables"),
        ("member__ease__weights", lambda a: a[:-1], "has 8 rows for 9 items"),
        ("member__ease__weights", lambda a: a * np.nan, "not finite"),
        ("network__behaviour_tower__hidden__weight", lambda a: a * 0 + 1, "one direction|point where others do"),
        ("network__sequence__bias_hh", lambda a: a + 1e4, "reaches beyond"),
    ],
)
def test_e62_tables_that_do_not_fit_are_refused_by_name(
    take: Take, model_folder: Path, catalogue: Catalogue, name: str, change: Any, complaint: str
) -> None:
    folder = rewritten(model_folder, **{name: lambda array: np.ascontiguousarray(change(array), array.dtype)})
    with pytest.raises(DataError, match=complaint):
        take("model", folder, catalogue.digest)


@pytest.mark.abuse
def test_a_file_that_no_model_has_is_refused(take: Take, model_folder: Path, catalogue: Catalogue) -> None:
    (model_folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"has no file 'model.pkl'"):
        take("model", model_folder, catalogue.digest)
