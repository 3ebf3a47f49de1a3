import numpy as np
import pytest
from safetensors.numpy import save

from fedrec.privacy.correlation import cache as factorisation_cache
from fedrec.privacy.correlation.cache import factorisation_for
from fedrec.privacy.correlation.factorisation import factorise


@pytest.fixture
def solved(monkeypatch):
    """Count what is solved for; nothing is remembered in memory."""
    calls = []

    def counting(rounds, width):
        calls.append((rounds, width))
        return factorise(rounds, width)

    monkeypatch.setattr(factorisation_cache, "factorise", counting)
    factorisation_for.cache_clear()
    return calls


def again(folder):
    factorisation_for.cache_clear()
    return factorisation_for(12, 3, folder)


def test_a_factorisation_is_solved_for_once_on_a_machine(tmp_path, solved):
    first, second = again(tmp_path / "new"), again(tmp_path / "new")
    np.testing.assert_array_equal(first.bands, second.bands)
    assert solved == [(12, 3)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["banded-v1-12-3.safetensors"]


def test_the_user_s_cache_is_where_data_sets_are(tmp_path, solved, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    factorisation_for(12, 3)
    assert (tmp_path / "fedrec" / "factorisations" / "banded-v1-12-3.safetensors").is_file()


@pytest.mark.parametrize("damage", ["cut", "edited", "louder", "other-shape", "words"])
def test_what_does_not_hold_is_solved_for_again(tmp_path, solved, damage, caplog):
    bands = again(tmp_path).bands
    path = tmp_path / "banded-v1-12-3.safetensors"
    digest = factorisation_cache._digest
    other = factorise(12, 4) if damage == "other-shape" else factorise(12, 3)
    forged = type(other)(bands=other.bands * (1.1 if damage == "louder" else 1.0))
    content = {
        "cut": path.read_bytes()[:-9],
        "edited": save({"bands": bands * 0.9}, metadata={"sha256": digest(factorise(12, 3))}),
        "louder": save({"bands": forged.bands}, metadata={"sha256": digest(forged)}),
        "other-shape": save({"bands": forged.bands}, metadata={"sha256": digest(forged)}),
        "words": b"not a file of tensors",
    }
    path.write_bytes(content[damage])
    np.testing.assert_array_equal(again(tmp_path).bands, bands)
    assert "solved for again" in caplog.text
    np.testing.assert_array_equal(again(tmp_path).bands, bands)
    assert len(solved) == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, solved):
    (tmp_path / "file").write_text("in the way")
    np.testing.assert_array_equal(again(tmp_path / "file" / "folder").bands, factorise(12, 3).bands)


def test_a_full_disk_leaves_no_half_a_file_and_the_factorisation_is_had(tmp_path, solved, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(factorisation_cache.os, "fsync", full)
        found = again(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    np.testing.assert_array_equal(found.bands, factorise(12, 3).bands)
