"""MODULE:CALLABLE and EPS,DELTA,N,Q: what they name, or one sentence on what is missing."""

from pathlib import Path

import pytest

from fedrec.errors import ConfigError
from simulations.audits.function.loading import load_subject
from simulations.audits.function.subject import Claim, Training


@pytest.fixture(autouse=True)
def _in_a_folder_with_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("their_code.py").write_text(
        "def mean(updates, rng):\n    return {}\n"
        "def one(updates):\n    return {}\n"
        "class Kept:\n    def __call__(self, updates, rng):\n        return {}\n"
        "class Made:\n    def __init__(self, size):\n        pass\n"
        "number = 3\n"
    )
    Path("their_broken.py").write_text("1 / 0\n")
    Path("their_needs.py").write_text("import a_library_that_nobody_has\n")


@pytest.mark.parametrize("name", ["mean", "Kept"])
def test_a_module_in_the_working_directory_is_found(name: str) -> None:
    assert callable(load_subject(f"their_code:{name}"))


def test_an_example_is_found_by_its_name() -> None:
    assert isinstance(load_subject("simulations.audits.examples.in_batch_negatives:WRONG"), Training)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("their_code", "must be MODULE:CALLABLE"),
        ("their_code:", "must be MODULE:CALLABLE"),
        ("nowhere.to_be:found", "module 'nowhere.to_be' was not found"),
        ("their_needs:mean", "needs 'a_library_that_nobody_has'"),
        ("their_broken:mean", "ZeroDivisionError"),
        ("their_code:median", "no attribute 'median'"),
        ("their_code:number", "is int: give a callable"),
        ("their_code:one", r"takes \(updates\), it must be called as"),
        ("their_code:Made", "must be made without arguments"),
    ],
)
def test_what_is_missing_is_named(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_subject(path)


def test_a_claim_is_four_numbers() -> None:
    assert Claim.parse("4.38,1e-5,1000,0.1", rounds=3) == Claim(
        epsilon=4.38, delta=1e-5, population=1000, sample_rate=0.1, rounds=3
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4.38", "EPS,DELTA,N,Q"),
        ("4.38,1e-5,many,1", "EPS,DELTA,N,Q"),
        ("-1,1e-5,1000,1", "epsilon must be positive"),
        ("nan,1e-5,1000,1", "epsilon must be positive"),
        ("1,0,1000,1", "delta"),
        ("1,1e-5,1,1", "2 users"),
        ("1,1e-5,1000,1.5", "sample rate"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Claim.parse(text)
