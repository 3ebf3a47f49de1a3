"""``fedrec simulate --resume``: a run that was ended anywhere comes to the summary of one that was not."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fedrec.config import Scenario, parse_scenario
from fedrec.errors import ConfigError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from simulations.simulate import resume, simulate

TINY = {
    "data": {"source": "synthetic", "synthetic_users": 20, "synthetic_items": 15},
    "model": {"dim": 4, "history_length": 4, "branches": ["mf"]},
    "training": {"rounds": 3, "sample_rate": 0.5},
    "privacy": {"enabled": False, "delta": 1e-3, "noise_seed": "run"},
    "federation": {"nodes": 2, "checkpoint_every": 2},
    "evaluation": {"every": 1, "bootstrap": 100, "floors": False},
}
CLOCKED = {"seconds", "created", "finished", "timing", "bytes", "bytes_up", "bytes_down"}
PRIVATE = ("privacy.enabled=true", "privacy.epsilon=50", "training.sample_rate=1.0")


def tiny(*overrides: str) -> Scenario:
    return parse_scenario(TINY, overrides)


def crash(scenario: Scenario, out: Path, where: str, nth: int) -> None:
    plan = FaultPlan(faults=(Fault(where=where, what=What.CRASH, nth=nth),))
    with installed(plan), pytest.raises(InjectedCrashError):
        simulate(scenario, out)


def without_times(value: Any) -> Any:
    """Leave out what the clock decides, and bytes, in which numbers of messages have as many digits as they have."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in CLOCKED}
    return [without_times(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    simulate(tiny(), out)
    return out


def assert_as_whole(out: Path, whole: Path) -> None:
    folder, other = RunFolder.open(out), RunFolder.open(whole)
    assert without_times(folder.summary().model_dump(mode="json")) == without_times(
        other.summary().model_dump(mode="json")
    )
    assert without_times(folder.metrics()) == without_times(other.metrics())
    assert folder.report_path.is_file()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("where", "nth"),
    [
        ("round.collected", 3),
        *(
            pytest.param(where, nth, marks=pytest.mark.slow)
            for where, nth in [("round.opened", 1), ("round.aggregated", 2), ("round.committed", 4)]
        ),
    ],
)
def test_a1_a_simulation_that_crashed_and_went_on_has_the_summary_of_one_that_did_not(
    tmp_path: Path, whole: Path, where: str, nth: int
) -> None:
    crash(tiny(), tmp_path / "run", where, nth)
    resume(tmp_path / "run")
    assert_as_whole(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_private_simulation_that_crashed_charges_no_more_than_one_that_did_not(tmp_path: Path) -> None:
    simulate(tiny(*PRIVATE), tmp_path / "whole")
    crash(tiny(*PRIVATE), tmp_path / "run", "round.drawn", 3)
    resume(tmp_path / "run")
    assert_as_whole(tmp_path / "run", tmp_path / "whole")
    charges = Ledger(RunFolder(tmp_path / "run").ledger_path).charges()
    assert [charge.round for charge in charges] == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_simulation_that_crashed_after_its_rounds_were_chosen_does_not_choose_again(tmp_path: Path) -> None:
    chosen = ("selection.enabled=true", "selection.every=1", "training.rounds=2")
    simulate(tiny(*chosen), tmp_path / "whole")
    rounds = RunFolder(tmp_path / "whole").chosen_rounds()
    assert rounds is not None
    crash(tiny(*chosen), tmp_path / "run", "round.aggregated", 4)  # three of the search, then the run itself
    before = (tmp_path / "run" / "chosen.json").read_bytes()
    resume(tmp_path / "run")
    assert (tmp_path / "run" / "chosen.json").read_bytes() == before
    assert_as_whole(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_nodes_that_were_not_all_written_are_written_again(tmp_path: Path, whole: Path) -> None:
    crash(tiny(), tmp_path / "run", "round.opened", 1)
    run = RunFolder(tmp_path / "run")
    shutil.rmtree(run.checkpoints)
    run.checkpoints.mkdir()
    (run.nodes / "written").unlink()
    shutil.rmtree(run.nodes / "node-000001")
    resume(tmp_path / "run")
    assert_as_whole(tmp_path / "run", whole)


def test_a_run_that_has_ended_is_not_gone_on_with(whole: Path) -> None:
    with pytest.raises(ConfigError, match="has ended"):
        resume(whole)


def test_a_folder_that_is_no_run_cannot_be_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run"):
        resume(tmp_path)
