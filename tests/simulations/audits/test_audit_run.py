"""A whole audit: which levels are made of what, and what becomes of one that cannot be made."""

import json
import math
import shutil

import pytest

from fedrec.audit.findings import Check, Findings, Level
from fedrec.config import PrivacyConfig, Scenario, TrainingConfig
from fedrec.config.privacy import InteractionConfig
from fedrec.errors import ConfigError, FedRecError, LedgerError
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from simulations.audits import levels as levels_module
from simulations.audits.audit import audit_run, claims_nothing
from simulations.audits.canaries import CANARIES, REPEATS
from simulations.audits.claims import guess_at_most
from simulations.audits.conduct import WATCHED_RUN
from simulations.audits.ledgers import device_ledgers_in
from simulations.audits.levels import default_levels
from simulations.simulate import simulate
from tests.fedrec.runs.privacy_ledgers import charged

pytestmark = pytest.mark.xdist_group("audit-run")  # what is made for all is made once

ALL = tuple(Level)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one round under user-level DP."""
    path = tmp_path_factory.mktemp("finished") / "run"
    parts = {
        "data": {"synthetic_users": 40, "synthetic_items": 20},
        "model": {"dim": 4, "history_length": 5, "branches": ["mf"]},
        "training": {"rounds": 1, "sample_rate": 0.5, "popularity_start": False},
        "evaluation": {"every": 0, "floors": False, "bootstrap": 100},
        "federation": {"nodes": 2},
    }
    simulate(Scenario.model_validate(parts), path)
    return path


def passed(level, name="stub"):
    check = Check(level=level, name=name, asks="Does it?", verdict="passed", found="It does.", tests=2)
    return Findings(checks=(check,), untested=(f"nothing else of level {int(level)}",))


@pytest.fixture
def calls(monkeypatch):
    """What the parts of an audit are called with; each passes one check."""
    seen = {}

    def part(name, level):
        def call(*arguments, **settings):
            seen[name] = (arguments, settings)
            return passed(level, name.removesuffix("_findings"))

        monkeypatch.setattr(levels_module, name, call)

    part("mechanism_findings", Level.MECHANISM)
    part("conduct_findings", Level.MECHANISM)
    part("sensitivity_findings", Level.SENSITIVITY)
    part("run_findings", Level.RUN)
    part("attack_findings", Level.ATTACKS)
    return seen


def audit(path, levels=ALL, **settings):
    return audit_run(path, levels=levels, repeat="again", **{"seed": 11, **settings})


@pytest.mark.slow  # each part has quick tests of its own
def test_every_level_is_made_of_its_parts_with_the_seed_and_the_run_s_own_mechanism(finished, calls, monkeypatch):
    monkeypatch.setattr(levels_module, "repeat_with_canaries", lambda run, out: out)
    report = audit(finished, quick=True)
    (charge,) = Ledger(finished / "ledger.jsonl").charges()
    own = {"mechanisms": (charge.mechanism,), "seed": 11, "quick": True}
    scenario = RunFolder.open(finished).scenario()
    assert calls["mechanism_findings"] == calls["conduct_findings"] == ((scenario,), own)
    assert calls["sensitivity_findings"] == calls["attack_findings"] == ((scenario,), {"seed": 11, "quick": True})
    assert (report.levels, report.seed, report.quick, report.unfinished) == (ALL, 11, True, ())
    assert report.verdict == "no violation found"
    assert report.tests == 10
    assert report.false_alarm == pytest.approx(1e-5)


def test_levels_that_were_not_asked_for_are_named(finished, calls):
    report = audit(finished, (Level.RECORD,))
    assert calls == {}
    assert report.seed is None
    assert [text for text in report.not_tested if text.startswith("Level ")] == [
        "Level 2, the noise and the bound, as the code makes them, was not asked for.",
        "Level 3, what one person can change, was not asked for.",
        "Level 4, a whole training run, was not asked for.",
        "Level 5, what an attacker learns, was not asked for.",
    ]


def test_a_level_that_cannot_be_made_is_unfinished_and_hides_nothing_of_the_others(finished, calls, monkeypatch):
    def fail(*arguments, **settings):
        raise ConfigError("no such thing: mend it")

    monkeypatch.setattr(levels_module, "mechanism_findings", fail)
    report = audit(finished, (Level.RECORD, Level.MECHANISM, Level.SENSITIVITY))
    assert report.unfinished == ("level 2 could not be audited: no such thing: mend it",)
    assert {check.level for check in report.checks} == {Level.RECORD, Level.MECHANISM, Level.SENSITIVITY}
    assert [check.verdict for check in report.checks if check.level == Level.MECHANISM] == ["not run"]


def test_a_watched_run_that_breaks_off_is_no_pass_and_hides_nothing(finished, calls, monkeypatch):
    row = Check(level=Level.MECHANISM, name=WATCHED_RUN, asks="Does it end?", verdict="not run", found="It did not.")
    monkeypatch.setattr(levels_module, "conduct_findings", lambda *arguments, **settings: Findings(checks=(row,)))
    report = audit(finished, (Level.RECORD, Level.MECHANISM))
    assert report.unfinished == ("level 2 could not be finished: It did not.",)
    assert "mechanism" in {check.name for check in report.checks}


def test_where_nothing_that_was_asked_for_could_be_looked_at_there_is_no_report(finished, calls, monkeypatch):
    monkeypatch.setattr(levels_module, "run_findings", lambda *arguments: Findings(untested=("x",)))
    monkeypatch.setattr(levels_module, "repeat_with_canaries", lambda run, out: out)
    with pytest.raises(ConfigError, match="nothing of what was asked for could be audited"):
        audit(finished, (Level.RUN,))


def test_a_ledger_without_its_run_has_level_one_alone_and_says_what_is_missing(finished, calls):
    ledger = finished / "ledger.jsonl"
    assert default_levels(ledger) == (Level.RECORD,)
    report = audit(ledger)
    not_run = {check.level: check.found for check in report.checks if check.name.startswith("level-")}
    assert set(not_run) == {Level.MECHANISM, Level.RUN, Level.ATTACKS}
    assert all("audit the run's folder" in found for found in not_run.values())
    assert calls["sensitivity_findings"][0] == (None,)


def test_canaries_of_the_run_are_judged_where_it_has_them(finished, calls, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    canaries = RunFolder(tmp_path / "run").canaries_path
    canaries.parent.mkdir()
    canaries.write_text("{}")
    assert default_levels(tmp_path / "run") == (Level.RECORD, Level.MECHANISM, Level.SENSITIVITY, Level.RUN)
    audit(tmp_path / "run", (Level.RUN,))
    (folder, (claim,)), _ = calls["run_findings"]
    assert folder == tmp_path / "run"
    assert claim.epsilon == pytest.approx(RunFolder.open(finished).summary().privacy.epsilon)


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_without_canaries_is_repeated_with_them_and_it_is_said(finished, calls, monkeypatch, tmp_path, kept):
    made = []

    def repeat(run, out):
        out.mkdir(parents=True)
        made.append((run, out))
        return out

    monkeypatch.setattr(levels_module, "repeat_with_canaries", repeat)
    report = audit(finished, (Level.RUN,), canary_run=tmp_path / "kept" if kept else None)
    assert [run for run, _ in made] == [finished] * REPEATS
    assert [out.exists() for _, out in made] == [kept] * REPEATS
    (run, _, repeats), _ = calls["run_findings"]
    assert (run, repeats) == (finished, [out for _, out in made])
    assert any("planted in a repetition of the run" in text for text in report.not_tested)


def test_a_run_that_takes_long_is_repeated_once(finished, calls, monkeypatch, tmp_path):
    clock = iter(range(0, 10_000, 150))
    monkeypatch.setattr(levels_module, "repeat_with_canaries", lambda run, out: out)
    monkeypatch.setattr(levels_module.time, "monotonic", lambda: next(clock))
    audit(finished, (Level.RUN,), canary_run=tmp_path)
    (_, _, repeats), _ = calls["run_findings"]
    assert repeats == [tmp_path / "run-1"]


@pytest.mark.parametrize(("verdict", "again"), [("passed", False), ("warned", True)])
def test_a_run_whose_canaries_say_too_much_by_chance_or_not_is_repeated(
    finished, calls, monkeypatch, tmp_path, verdict, again
):
    shutil.copytree(finished, tmp_path / "run")
    canaries = RunFolder(tmp_path / "run").canaries_path
    canaries.parent.mkdir()
    canaries.write_text("{}")
    row = Check(level=Level.RUN, name=CANARIES, asks="Does it tell?", verdict=verdict, found="It may.")
    seen = []

    def judged(run, claims, repeats=()):
        seen.append(len(repeats))
        return Findings(checks=(row,))

    monkeypatch.setattr(levels_module, "run_findings", judged)
    monkeypatch.setattr(levels_module, "repeat_with_canaries", lambda run, out: out)
    audit(tmp_path / "run")
    assert seen == [0, REPEATS] if again else [0]


def test_progress_is_told_of_levels_that_take_long(finished, calls):
    told = []
    audit(finished, (Level.RECORD, Level.SENSITIVITY), progress=told.append)
    assert told == ["level 3: What one person can change"]


def test_the_claim_has_its_words_and_lies_within_what_was_computed_anew(finished, calls):
    report = audit(finished, (Level.RECORD,))
    (claim,) = report.claims
    assert (claim.unit, claim.stated_by) == ("user: all interactions of one person", "summary.json")
    assert claim.recomputed_at_least <= claim.epsilon * 1.001
    assert claim.recomputed_at_least <= min(claim.recomputed_at_most, claim.recomputed_again)
    assert claim.burn_down[-1][0] == 1
    assert any("Poisson" in text for text in claim.assumptions)
    assert "a guess that had even odds before" in claim.statement


def test_an_audit_and_a_privacy_report_promise_the_same_of_a_guess(finished, calls):
    (claim,) = audit(finished, (Level.RECORD,)).claims
    reported = json.loads(RunFolder(finished).privacy_path.read_text())["claims"][0]
    assert claim.statement == reported["statement"]
    assert claim.assumptions == tuple(reported["assumptions"])


@pytest.mark.parametrize(
    ("privacy", "nothing"),
    [
        (PrivacyConfig(enabled=False), True),
        (PrivacyConfig(), False),
        (PrivacyConfig(enabled=False, interaction=InteractionConfig()), False),
    ],
)
def test_only_a_run_whose_settings_claim_nothing_has_nothing_to_audit(tmp_path, privacy, nothing):
    scenario = Scenario(privacy=privacy, training=TrainingConfig(popularity_start=False))
    folder = RunFolder.create(tmp_path / "run", scenario)
    assert claims_nothing(folder.path) == nothing


def test_a_ledger_that_was_left_behind_is_audited_whatever_the_settings_say(tmp_path):
    folder = RunFolder.create(tmp_path / "run", Scenario(privacy=PrivacyConfig(enabled=False)))
    charged(folder.ledger_path)
    assert not claims_nothing(folder.path)
    with pytest.raises(FedRecError):
        audit(folder.path, (Level.RECORD,))


def test_folders_of_devices_are_searched_for_ledgers(tmp_path, finished):
    nodes = finished / "nodes"
    assert len(device_ledgers_in([nodes])) == 2
    one = nodes / "node-000000" / "ledger.jsonl"
    assert device_ledgers_in([one]) == (one,)
    with pytest.raises(ConfigError, match="holds no ledger"):
        device_ledgers_in([tmp_path])
    with pytest.raises(LedgerError, match="nowhere"):
        audit(finished, (Level.RECORD,), devices=[tmp_path / "nowhere.jsonl"])


def test_several_ledgers_of_the_same_people_are_named_and_merged(finished, calls, tmp_path):
    other = charged(tmp_path / "other.jsonl", run_id="other")
    report = audit(finished, (Level.RECORD,), others=[other.path])
    assert str(other.path) in report.subject.ledgers
    merged = next(check for check in report.checks if "together" in check.asks)
    assert merged.verdict != "not run"


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 1e-5), (8.0, 1e-6), (0.5, 0.2), (1000.0, 0.0)])
def test_the_probability_of_a_right_guess_is_that_of_the_worst_mechanism_allowed(epsilon, delta):
    """The oracle reveals the unit with probability delta, and answers by randomised response otherwise."""
    response = 1 / (1 + math.exp(-epsilon))
    assert guess_at_most(epsilon, delta) == pytest.approx(delta + (1 - delta) * response, rel=1e-9)


@pytest.mark.slow  # half a minute
def test_a_correct_run_passes_levels_one_to_three(finished):
    report = audit(finished, (Level.RECORD, Level.MECHANISM, Level.SENSITIVITY))
    assert (report.verdict, report.unfinished) == ("no violation found", ())
    assert {check.level for check in report.checks} == {Level.RECORD, Level.MECHANISM, Level.SENSITIVITY}
    assert report.bounds
