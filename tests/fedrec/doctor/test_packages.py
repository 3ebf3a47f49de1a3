"""Each look at what is installed, shown other installations."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

import fedrec
from fedrec.doctor.finding import State
from fedrec.doctor.packages import (
    PURPOSES,
    extra_findings,
    own_requirements,
    package_findings,
    python_findings,
    torch_findings,
)

ROOT = Path(__file__).resolve().parents[3]
ASKED = [
    Requirement(text)
    for text in ("flwr>=1.41,<1.43", "torch>=2.6", 'optuna>=4.5; extra == "hpo"', 'matplotlib>=3.9; extra == "hpo"')
]
HERE = {"fedrec": fedrec.__version__, "flwr": "1.42.0", "torch": "2.6.0+cpu", "optuna": "4.5", "matplotlib": "3.9"}


def packages(**changed):
    return list(package_findings(ASKED, lambda name: {**HERE, **changed}.get(name)))


def test_packages_in_their_ranges_are_well_and_those_that_matter_are_named():
    own, rest = packages()
    assert (own.state, rest.state) == (State.GOOD, State.GOOD)
    assert "flwr 1.42.0, torch 2.6.0+cpu" in rest.detail
    assert "2 of 2" in rest.detail


@pytest.mark.parametrize(("version", "says"), [("1.43.0", "1.43.0 is installed"), (None, "not installed")])
def test_a_package_out_of_its_range_or_missing_is_bad_with_what_to_install(version, says):
    (finding,) = [finding for finding in packages(flwr=version) if finding.bad]
    assert finding.what == "flwr"
    assert says in finding.detail
    assert finding.remedy == "pip install 'flwr<1.43,>=1.41'"


def test_code_beside_the_metadata_of_another_version_is_bad():
    (finding,) = [finding for finding in packages(fedrec="0.0.1") if finding.bad]
    assert "0.0.1" in finding.detail


def test_an_installation_without_metadata_is_bad():
    (finding,) = package_findings([], lambda name: None)
    assert finding.bad


def test_an_extra_that_is_not_whole_is_a_note_that_says_what_it_is_for_and_how_it_is_had():
    (whole,) = extra_findings(ASKED, HERE.get)
    (half,) = extra_findings(ASKED, {**HERE, "optuna": "4.4"}.get)
    assert whole.state is State.GOOD
    assert half.state is State.NOTE
    assert "fedrec sweep" in half.detail
    assert "optuna" in half.detail
    assert "matplotlib" not in half.detail
    assert half.remedy.endswith("pip install 'fedrec[hpo]'")


def test_every_extra_has_its_purpose_and_there_is_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(PURPOSES) == set(project["optional-dependencies"])


def test_the_ranges_are_those_of_the_installed_metadata():
    named = {requirement.name for requirement in own_requirements()}
    assert {"flwr", "torch", "opacus", "numpy"} <= named


@pytest.mark.parametrize(("version", "state"), [("3.10.14", State.BAD), ("3.11.0", State.GOOD), ("3.13.1", State.GOOD)])
def test_python_is_held_to_the_range_of_the_project(version, state):
    (finding,) = python_findings(version, ">=3.11")
    assert finding.state is state


def torch_built(cuda: str | None, total: int = 3):
    return SimpleNamespace(
        __version__="2.9.0",
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(is_available=lambda: False),
        get_num_threads=lambda: 2,
        ones=lambda n: SimpleNamespace(sum=lambda: total),
    )


@pytest.mark.parametrize(
    ("torch", "state", "says"),
    [
        (torch_built(None), State.GOOD, "CPU build, 2 threads"),
        (torch_built("12.8"), State.NOTE, "CUDA 12.8, on a machine without a GPU"),
        (torch_built(None, total=2), State.BAD, "cannot add"),
    ],
)
def test_the_build_of_torch_is_told(torch, state, says):
    (finding,) = torch_findings(lambda name: torch)
    assert finding.state is state
    assert says in finding.detail


@pytest.mark.parametrize("error", [ImportError("no module"), OSError("libcudart.so: not found")])
def test_a_torch_that_cannot_be_imported_is_bad_and_raises_nothing(error):
    def fail(name):
        raise error

    (finding,) = torch_findings(fail)
    assert finding.bad
    assert str(error) in finding.detail
