"""Submitting a run to the devices, waiting for it, and publishing what came of it."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fedrec.config import parse_scenario
from fedrec.errors import ConfigError, RoundFailedError
from fedrec.flower.bundle import build_bundle, bundle_hash
from fedrec.flower.roster import Roster
from fedrec.flower.state import RunState
from fedrec.models import build_model
from fedrec.rounds import NodeCard
from fedrec.runs.folder import RunFolder
from server.checkpoint import Checkpoints
from server.door.flower import RunStatus
from server.door.publications import Publications, load_signing_key
from server.door.releasing import release
from server.door.training import APP, follow, new_run, published_catalogue, stop_all, submit

RUNNING = RunStatus(id=7, status="running", outcome="", details="")


class SuperLink:
    """Runs as a SuperLink tells of them, one look after the other."""

    def __init__(self, *looks: list[RunStatus]) -> None:
        self.looks = list(looks)
        self.started: list[tuple[bytes, Path]] = []
        self.stopped: list[int] = []

    def runs(self) -> list[RunStatus]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def start_run(self, bundle: bytes, run: Path) -> int:
        self.started.append((bundle, run))
        return 7

    def stop_run(self, run_id: int) -> None:
        self.stopped.append(run_id)


@pytest.fixture
def publications(home):
    return Publications(home.public, load_signing_key(home.signing_key))


@pytest.fixture
def run(home, tiny_dataset, tmp_path) -> RunFolder:
    tiny_dataset.catalogue.save(tmp_path / "catalogue")
    return new_run(home.runs / "first", parse_scenario({"model": {"dim": 4}}), tmp_path / "catalogue")


def test_a_run_is_submitted_as_the_code_that_is_installed_here(publications, run):
    superlink = SuperLink([])
    assert submit(superlink, publications, run) == 7
    [(bundle, path)] = superlink.started
    assert path == run.path.resolve()
    assert bundle_hash(bundle) == bundle_hash(build_bundle(APP))
    names = zipfile.ZipFile(io.BytesIO(bundle)).namelist()
    assert {"clients/app.py", "server/app.py", "fedrec/rounds.py", "server/door/enrolments.py"} <= set(names)
    assert all(name.endswith(".py") or name in ("pyproject.toml", ".info/CONTENT") for name in names)


@pytest.mark.fault
def test_e65_nothing_is_submitted_while_the_kill_switch_is_on(publications, run):
    publications.stop(True)
    superlink = SuperLink([])
    with pytest.raises(ConfigError, match="kill switch is on"):
        submit(superlink, publications, run)
    assert superlink.started == []


@pytest.mark.fault
def test_e65_the_kill_switch_stops_every_run_that_has_not_ended():
    ended = replace(RUNNING, id=3, status="finished", outcome="completed")
    superlink = SuperLink([ended, RUNNING, replace(RUNNING, id=8, status="starting")])
    assert stop_all(superlink) == 2
    assert superlink.stopped == [7, 8]


def test_one_run_at_a_time_trains_on_the_devices(publications, run):
    with pytest.raises(ConfigError, match="run 7 is training"):
        submit(SuperLink([RUNNING]), publications, run)


def test_following_a_run_beats_until_it_has_completed():
    completed = replace(RUNNING, status="finished", outcome="completed")
    beats: list[int] = []
    found = follow(
        SuperLink([RUNNING], [RUNNING], [completed]), 7, beat=lambda: beats.append(1), sleep=lambda seconds: None
    )
    assert (found.outcome, len(beats)) == ("completed", 3)


@pytest.mark.parametrize("outcome", ["failed", "stopped"])
def test_a_run_that_does_not_complete_says_how_it_ended(outcome):
    ended = replace(RUNNING, status="finished", outcome=outcome, details="why")
    with pytest.raises(RoundFailedError, match=f"run 7 {outcome}: why"):
        follow(SuperLink([ended]), 7, sleep=lambda seconds: None)


def test_a_run_that_the_superlink_has_forgotten_is_not_waited_for():
    with pytest.raises(RoundFailedError, match="database was lost"):
        follow(SuperLink([RUNNING], []), 7, sleep=lambda seconds: None)


def test_a_catalogue_is_published_once_and_laid_out_again_for_a_run(home, publications, run, tmp_path, tiny_dataset):
    with pytest.raises(ConfigError, match="no catalogue is published"):
        published_catalogue(home, publications, tmp_path / "none")
    done = release(publications, run.path)
    assert done.catalogue is not None
    assert done.catalogue.catalogue_digest == tiny_dataset.catalogue.digest
    assert done.model is None  # no round has ended
    assert release(publications, run.path).catalogue is None
    folder = published_catalogue(home, publications, tmp_path / "laid-out")
    assert type(tiny_dataset.catalogue).load(folder).digest == tiny_dataset.catalogue.digest


def test_a_catalogue_s_own_folder_is_published_too(publications, tmp_path, tiny_dataset):
    tiny_dataset.catalogue.save(tmp_path / "alone")
    done = release(publications, tmp_path / "alone")
    assert done.catalogue is not None
    assert (done.catalogue.version, done.model) == (1, None)


def test_a_run_that_has_not_finished_a_round_has_no_model_yet(publications, run, tiny_dataset):
    catalogue = tiny_dataset.catalogue
    shared = build_model(run.scenario().model, catalogue, 0).shared_state()
    roster = Roster(cards=(NodeCard(key="a", num_users=1, catalogue_digest=catalogue.digest),))
    begun = RunState(run_id="run", round=0, roster=roster, shared=shared, optimizer={})
    Checkpoints(run.checkpoints, catalogue.digest).save(begun)
    assert release(publications, run.path).model is None
    Checkpoints(run.checkpoints, catalogue.digest).save(replace(begun, round=1))
    assert release(publications, run.path).model is not None
