"""The bundle that Flower hands to nodes: the running installation's own files, and its hash."""

import hashlib
import io
import zipfile

import pytest

from fedrec.errors import DataError
from fedrec.flower import bundle
from fedrec.flower.bundle import SHELLS, app_files, build_bundle, bundle_hash


@pytest.fixture
def app(tmp_path):
    for shell in SHELLS:
        (tmp_path / shell).mkdir()
        (tmp_path / shell / "__init__.py").write_text(f"# {shell}")
    return tmp_path


def test_an_app_without_one_of_its_shells_is_refused_by_name(app):
    (app / SHELLS[-1] / "__init__.py").unlink()
    with pytest.raises(DataError, match=f"does not hold {SHELLS[-1]}: install fedrec from its wheel"):
        list(app_files(app))


def test_a_bundle_holds_the_library_and_both_shells_and_is_named_by_its_hash(app):
    content = build_bundle(app)
    names = set(zipfile.ZipFile(io.BytesIO(content)).namelist())
    assert {"pyproject.toml", "fedrec/__init__.py", *(f"{shell}/__init__.py" for shell in SHELLS)} <= names
    assert build_bundle(app) == content
    assert bundle_hash(content) == hashlib.sha256(content).hexdigest()


def test_the_shells_of_an_installed_wheel_are_not_in_it_twice(app, tmp_path, monkeypatch):
    library = tmp_path / "library"
    (library / "_app" / "clients").mkdir(parents=True)
    for name in ("__init__.py", "_app/__init__.py", "_app/clients/__init__.py"):
        (library / name).write_text("")
    monkeypatch.setattr(bundle.fedrec, "__file__", str(library / "__init__.py"))
    names = [name for name, _ in app_files(app)]
    assert [name for name in names if name.startswith("fedrec/")] == ["fedrec/__init__.py"]
