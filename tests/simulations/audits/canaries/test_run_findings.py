"""The bound of a whole run: below the claim where the run does what it says, above it where noise is forgotten."""

import json
import shutil
from pathlib import Path

import pytest

from fedrec.audit.findings import Bound, Check, Findings, Level
from fedrec.data.canaries import RESERVED
from fedrec.errors import ConfigError, DataError, FedRecError
from fedrec.privacy.accounts.audit import Claim
from fedrec.runs.folder import RunFolder
from simulations.audits.canaries import repeat_with_canaries, run_findings
from simulations.audits.canaries.findings import BY_CURVE
from tests.simulations.audits.canaries.canary_runs import STATISTICS, UPDATES, run, without_reports

pytestmark = pytest.mark.xdist_group("run-findings")  # what is made for all is made once


def check(findings: Findings, name: str) -> Check:
    return next(one for one in findings.checks if one.name == name)


def bound(findings: Findings) -> Bound:
    return next(one for one in findings.bounds if one.method == BY_CURVE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("canaries")
    return {
        "statistics": run(out / "statistics", STATISTICS),
        "statistics without noise": run(out / "statistics-bare", STATISTICS, noise=0.0),
        "updates": run(out / "updates", UPDATES),
        "updates without noise": run(out / "updates-bare", UPDATES, noise=0.0),
    }


@pytest.mark.parametrize("what", ["statistics", "updates"])
def test_a_run_that_does_what_it_says_stays_below_its_claim(folders: dict[str, Path], what: str) -> None:
    found = run_findings(folders[what])
    assert not found.violations
    assert all(one.verdict == "passed" for one in found.checks)
    assert all(one.lower is not None and one.claimed is not None and one.lower < one.claimed for one in found.bounds)
    assert {one.level for one in (*found.checks, *found.bounds)} == {Level.RUN}


@pytest.mark.parametrize("what", ["statistics", "updates"])
def test_a_run_without_its_noise_is_above_its_claim_as_far_as_a_verdict_needs(
    folders: dict[str, Path], what: str
) -> None:
    found = run_findings(folders[f"{what} without noise"])
    assert check(found, "canaries").verdict == "violated"
    assert bound(found).judged > bound(found).claimed  # type: ignore[operator]  # both are finite here
    assert check(found, "canaries").figures["correct"] == check(found, "canaries").figures["guesses"]


@pytest.mark.slow
def test_half_of_the_noise_of_statistics_is_seen_in_the_rows_that_nobody_met(tmp_path: Path) -> None:
    found = run_findings(run(tmp_path / "half", (*STATISTICS, "audit.canaries=200"), noise=0.5))
    assert check(found, "canaries").verdict == "passed"  # by guesses alone it is not
    noise = check(found, "reserved-row-noise")
    assert noise.verdict == "violated"
    assert noise.figures["share of noise"] == pytest.approx(0.5, abs=0.1)


def test_a_smaller_claim_that_somebody_makes_is_held_against_the_bounds(folders: dict[str, Path]) -> None:
    bare = folders["updates without noise"]
    assert bound(run_findings(bare, [Claim(epsilon=0.5, delta=1e-5)])).claimed == 0.5
    assert bound(run_findings(bare, [Claim(epsilon=0.5, delta=1e-3)])).claimed != 0.5  # says something else


def test_a_run_without_canaries_was_not_attacked_and_says_what_to_do(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", (*STATISTICS, "audit.canaries=0"))
    found = run_findings(plain)
    assert not found.checks
    assert not found.bounds
    assert "fedrec simulate SCENARIO --audit" in found.untested[0]
    with without_reports():
        again = repeat_with_canaries(plain, tmp_path / "again", canaries=100)
    assert RunFolder.open(again).scenario().audit.canaries == 100
    assert run_findings(again).bounds
    assert not RunFolder.open(plain).canaries_path.exists()


def test_what_is_measured_is_of_real_users_and_real_items(folders: dict[str, Path]) -> None:
    folder = RunFolder.open(folders["updates"])
    assert all(result.users.max() < 60 for result in folder.per_user().values())
    summary = folder.summary()
    assert summary.privacy is not None
    assert summary.privacy.population == 60 + 1000
    assert any("N is 60 + 1000" in note for note in summary.notes)


def test_a_devices_folder_does_not_say_which_canary_it_is_but_by_its_history(folders: dict[str, Path]) -> None:
    names = {path.name for path in (folders["updates"] / "nodes" / "node-000002").iterdir()}
    assert names <= {
        "node.json",
        "policy.toml",
        "users.json",
        "histories.safetensors",
        "state",
        "outbox",
        "ledger.jsonl",
    }
    assert RESERVED in (folders["updates"] / "nodes" / "node-000002" / "users.json").read_text()


@pytest.mark.parametrize(
    ("spoil", "error", "what"),
    [
        (lambda path: (path / "audit" / "canaries.json").unlink(), ConfigError, r"canaries\.json does not exist"),
        (lambda path: (path / "audit" / "canaries.json").write_text("?"), DataError, r"canaries\.json is not valid"),
        (lambda path: shutil.rmtree(path / "checkpoints"), ConfigError, r"checkpoints holds no checkpoint"),
        (lambda path: (path / "ledger.jsonl").unlink(), DataError, r"ledger\.jsonl does not exist"),
        (lambda path: (path / "ledger.jsonl").write_text(""), DataError, r"ledger\.jsonl has no charge of run"),
        (lambda path: (path / "config.toml").unlink(), ConfigError, r"is not a run"),
        (lambda path: shutil.rmtree(path / "catalogue"), DataError, r"no catalogue in"),
    ],
)
def test_what_is_missing_or_damaged_is_named(folders: dict[str, Path], tmp_path: Path, spoil, error, what) -> None:  # type: ignore[no-untyped-def]  # three parameters of one table
    path = tmp_path / "spoilt"
    shutil.copytree(folders["statistics"], path)
    spoil(path)
    with pytest.raises(error, match=what):
        run_findings(path)


def test_canaries_of_another_run_are_told(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "spoilt"
    shutil.copytree(folders["statistics"], path)
    file = path / "audit" / "canaries.json"
    table = json.loads(file.read_text())
    file.write_text(json.dumps({**table, "items": [item + 1 for item in table["items"]]}))
    with pytest.raises(FedRecError, match="it is of another run"):
        run_findings(path)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1.0, 0.0])
def test_rounds_that_draw_users_are_judged_by_their_own_curve(tmp_path: Path, noise: float) -> None:
    settings = (*UPDATES, "training.sample_rate=0.3", "training.rounds=12", "audit.canaries=2000")
    found = run_findings(run(tmp_path / "sampled", settings, noise=noise))
    assert bool(found.violations) is (noise == 0)


@pytest.mark.slow
def test_repetitions_that_all_tell_refute_more_than_a_single_run(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = folders["statistics without noise"]
    again = [run(tmp_path / str(seed), (*STATISTICS, f"run.seed={seed}"), noise=0.0) for seed in (1, 2)]
    once, thrice = bound(run_findings(bare)), bound(run_findings(bare, repeats=again))
    assert thrice.draws == 3 * once.draws
    assert thrice.judged > 8 > once.judged  # type: ignore[operator]  # both are finite here


def test_a_run_that_does_not_tell_is_enough_to_clear_the_others(folders: dict[str, Path]) -> None:
    found = run_findings(folders["statistics without noise"], repeats=[folders["statistics"]])
    assert check(found, "canaries").verdict == "passed"
    assert check(found, "reserved-row-noise").verdict == "violated"  # but noise is missing in half of the rows
