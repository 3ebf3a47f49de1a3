"""Data sets as ``fedrec simulate`` would find them."""

import pytest

from fedrec.doctor.data_sets import data_findings
from fedrec.doctor.finding import State


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty home with an empty folder of data sets."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("FEDREC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of(what, names=("films",)):
    return next(finding for finding in data_findings(names) if finding.what == what)


def test_a_data_set_that_is_not_here_is_a_note_with_the_command_that_fetches_it(places):
    finding = of("data films")
    assert finding.state is State.NOTE
    assert finding.remedy.endswith("fedrec data get films")


@pytest.mark.parametrize("parent", ["data", "cache/fedrec/data"])
def test_a_data_set_is_found_where_simulate_finds_it(places, parent):
    (places / parent / "films").mkdir(parents=True)
    (places / parent / "films" / "u.data").write_text("1\t2\t3\t4\n")
    finding = of("data films")
    assert finding.state is State.GOOD
    assert str(places / parent / "films") in finding.detail or parent == "data"


def test_an_empty_file_is_bad(places):
    (places / "data" / "films").mkdir()
    (places / "data" / "films" / "u.data").write_text("")
    assert of("data films").bad


def test_a_variable_that_names_no_folder_is_bad(places, monkeypatch):
    monkeypatch.setenv("FEDREC_DATA", str(places / "nowhere"))
    assert of("data").bad
    assert "nowhere" in of("data").detail


def test_a_cache_that_cannot_be_made_is_bad_and_one_that_can_is_well(places, monkeypatch):
    assert of("data cache").state is State.GOOD
    assert not (places / "cache").exists()
    (places / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "file"))
    assert of("data cache").bad
