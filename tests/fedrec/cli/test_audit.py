"""``fedrec audit``, through the program's own rim: what it prints, what it writes, and with which code it leaves."""

import json
import re
import shutil

import pytest

from fedrec.audit.report.record import AuditReport
from fedrec.cli import audit as audit_module
from fedrec.cli.audit import levels_of
from fedrec.cli.main import run
from fedrec.config import PrivacyConfig, Scenario
from fedrec.errors import ConfigError
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from tests.fedrec.audit.example_reports import example, violated
from tests.fedrec.runs.privacy_ledgers import charged

pytestmark = pytest.mark.xdist_group("cli-audit")  # what is made for all is made once

RECORD = ["--levels", "1", "--seed", "7"]
"""What is written down alone: the other levels have tests of their own."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two rounds under user-level DP."""
    out = tmp_path_factory.mktemp("finished") / "run"
    fast = ["training.rounds=2", "training.popularity_start=false", "evaluation.every=0", "privacy.noise_seed=none"]
    assert run(["simulate", "tiny", *(word for one in fast for word in ("--set", one)), "--out", str(out)]) == 0
    return out


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the run, to be spoiled."""
    shutil.copytree(finished, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


def audit(capsys, *arguments):
    """Return exit code, JSON on stdout or None, and the line on stderr that says why."""
    capsys.readouterr()
    code = run(["audit", *map(str, arguments), *RECORD, "--json"])
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in captured.err
    return code, json.loads(captured.out) if captured.out else None, errors[0] if errors else ""


def lines_of(folder):
    return folder.ledger_path.read_text().splitlines(keepends=True)


def test_an_honest_run_passes_and_its_epsilon_is_computed_anew_twice(capsys, folder):
    code, report, error = audit(capsys, folder.path)
    (claim,) = report["claims"]
    assert (code, error, report["verdict"]) == (0, "", "no violation found")
    assert claim["epsilon"] == pytest.approx(folder.summary().privacy.epsilon)
    assert claim["recomputed_at_most"] == pytest.approx(claim["epsilon"], rel=0.02)
    assert claim["recomputed_again"] >= 0.98 * claim["recomputed_at_least"]
    assert report["head"] == Ledger(folder.ledger_path).head()
    assert report["not_tested"]


def test_the_report_lies_in_the_run_and_says_what_json_says(capsys, folder):
    _, report, _ = audit(capsys, folder.path)
    written = folder.path / "audit"
    assert json.loads((written / "audit.json").read_text()) == report
    read = AuditReport.model_validate_json((written / "audit.json").read_text())
    assert read.repeat in (written / "audit.html").read_text()


def test_the_table_puts_the_verdict_last_and_never_says_private(capsys, folder):
    assert run(["audit", str(folder.path), *RECORD]) == 0
    shown = capsys.readouterr().out
    assert "Level 1: What is written down" in shown
    assert "not tested:" in shown
    verdict, place = shown.splitlines()[-2:]
    assert verdict.startswith("No violation found in")
    assert place.startswith(f"report: {folder.path / 'audit' / 'audit.html'}")


def test_the_command_that_the_report_names_repeats_the_audit(capsys, folder):
    _, report, _ = audit(capsys, folder.path)
    assert report["repeat"] == f"fedrec audit {folder.path} --levels 1 --seed 7"
    assert run([*report["repeat"].split()[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    passing = ("created", "seconds")
    assert {k: v for k, v in again.items() if k not in passing} == {k: v for k, v in report.items() if k not in passing}


def test_a_ledger_file_can_be_audited_alone_and_nothing_is_written_beside_it(capsys, folder, tmp_path):
    before = sorted(folder.path.iterdir())
    code, report, _ = audit(capsys, folder.ledger_path)
    assert (code, report["subject"]["kind"], report["claims"][0]["epsilon"] > 0) == (0, "ledger", True)
    assert sorted(folder.path.iterdir()) == before
    assert audit(capsys, folder.ledger_path, "--out", tmp_path / "there")[0] == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["audit.html", "audit.json"]


def test_a_claim_below_what_was_spent_is_exit_code_one_and_one_line(capsys, folder):
    summary = folder.summary()
    lower = summary.privacy.model_copy(update={"epsilon": 1.0})
    folder.write_summary(summary.model_copy(update={"privacy": lower}))
    code, report, error = audit(capsys, folder.path)
    assert (code, report["verdict"]) == (1, "violation found")
    assert str(folder.path) in error
    assert [check for check in report["checks"] if check["verdict"] == "violated"]


def test_violations_are_told_first(capsys, folder):
    summary = folder.summary()
    folder.write_summary(summary.model_copy(update={"privacy": summary.privacy.model_copy(update={"epsilon": 1.0})}))
    assert run(["audit", str(folder.path), *RECORD]) == 1
    shown = capsys.readouterr().out
    assert 0 < shown.index("violated") < shown.index("no violation found")
    assert "Violation found." in shown


def _swap(lines):
    return [lines[1], lines[0], *lines[2:]]


def _edit(lines):
    assert '"clip_norm":1.0' in lines[0]
    return [lines[0].replace('"clip_norm":1.0', '"clip_norm":9.0'), *lines[1:]]


def _newer(lines):
    return [*lines[:-1], lines[-1].replace('"schema":1', '"schema":2')]


SPOILED = {
    "edited": (_edit, r"line 1 .*edited"),
    "reordered": (_swap, r"line 1 .*reordered"),
    "removed": (lambda lines: [lines[0], *lines[2:]], r"line 2 .*removed"),
    "repeated": (lambda lines: [*lines, lines[-1]], r"line \d+ repeats"),
    "truncated": (lambda lines: [*lines[:-1], lines[-1][:40]], r"line \d+ is cut short"),
    "empty": (lambda lines: [], r"empty"),
    "of a newer schema": (_newer, r"line \d+ .*newer"),
    "no ledger": (lambda lines: ["hello\n"], r"not a ledger"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_ledger_that_is_spoiled_is_exit_code_two_and_named_with_its_line_and_a_remedy(capsys, folder, how):
    spoil, says = SPOILED[how]
    folder.ledger_path.write_text("".join(spoil(lines_of(folder))))
    code, report, error = audit(capsys, folder.path)
    assert (code, report) == (2, None)
    assert str(folder.ledger_path) in error
    assert re.search(says, error), error
    assert ";" in error or ":" in error


def test_lines_cut_off_at_the_end_are_noticed_by_what_checkpoints_keep(capsys, folder):
    folder.ledger_path.write_text("".join(lines_of(folder)[:-2]))
    code, _, error = audit(capsys, folder.path)
    assert code in (1, 2)
    assert "round-" in error or "ledger.jsonl" in error


def test_a_ledger_of_another_run_is_not_a_pass(capsys, folder):
    folder.ledger_path.unlink()
    charged(folder.ledger_path, rounds=2)
    code, _, error = audit(capsys, folder.path)
    assert code in (1, 2)
    assert str(folder.path) in error


def test_a_run_without_checkpoints_is_not_a_pass(capsys, folder):
    shutil.rmtree(folder.checkpoints)
    code, report, error = audit(capsys, folder.path)
    assert (code, report) == (2, None)
    assert "checkpoints" in error


def test_a_claim_without_a_ledger_is_exit_code_two(capsys, folder):
    folder.ledger_path.unlink()
    code, report, error = audit(capsys, folder.path)
    assert (code, report) == (2, None)
    assert "ledger.jsonl" in error


def test_a_run_that_claims_no_privacy_has_nothing_to_audit(capsys, tmp_path):
    open_settings = Scenario(privacy=PrivacyConfig(enabled=False))
    folder = RunFolder.create(tmp_path / "run", open_settings)
    code, report, _ = audit(capsys, folder.path)
    assert (code, report["verdict"], report["claims"]) == (0, "nothing to audit", [])
    assert run(["audit", str(folder.path)]) == 0
    assert "There is nothing to audit: run claims no privacy." in capsys.readouterr().out
    assert not (folder.path / "audit").exists()


def test_settings_that_claim_privacy_without_a_ledger_are_not_a_pass(capsys, tmp_path):
    folder = RunFolder.create(tmp_path / "run", Scenario())
    assert audit(capsys, folder.path)[0] == 2


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_no_run_is_exit_code_two(capsys, tmp_path, name):
    code, _, error = audit(capsys, tmp_path / name)
    assert code == 2
    assert error


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit(0), MemoryError(), RecursionError("deep")])
def test_whatever_goes_wrong_in_an_audit_is_code_two_and_never_a_pass(capsys, folder, monkeypatch, error):
    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr(audit_module, "audit_run", fail)
    code, report, said = audit(capsys, folder.path)
    assert (code, report) == (2, None)
    assert "the audit could not be finished, and says nothing" in said
    assert type(error).__name__ in said


@pytest.mark.parametrize(("report", "code"), [(example(), 0), (violated(), 1)])
def test_every_kind_of_finding_is_told_in_plain_words(capsys, folder, monkeypatch, report, code):
    monkeypatch.setattr(audit_module, "audit_run", lambda *arguments, **settings: report)
    assert run(["audit", str(folder.path)]) == code
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("at least", "claimed: at most 8.00", "(control)", "risk, not epsilon", "1 in 15,625"):
        assert words in shown
    assert ("REFUTED" in shown) == (code == 1)


@pytest.mark.parametrize(("report", "code"), [(example(), 2), (violated(), 1)])
def test_a_level_that_could_not_be_made_is_no_pass_but_hides_no_violation(capsys, folder, monkeypatch, report, code):
    unfinished = report.model_copy(update={"unfinished": ("level 4 could not be audited: no data: get them",)})
    monkeypatch.setattr(audit_module, "audit_run", lambda *arguments, **settings: unfinished)
    found, written, error = audit(capsys, folder.path)
    assert (found, written["unfinished"], error.count("\n")) == (code, list(unfinished.unfinished), 0)
    assert (folder.path / "audit" / "audit.html").exists()
    assert ("level 4 could not be audited: no data: get them" in error) == (code == 2)


@pytest.mark.parametrize(
    ("text", "levels"), [("1", [1]), ("1-3", [1, 2, 3]), ("1,5", [1, 5]), ("2-3, 1", [1, 2, 3]), ("4", [4])]
)
def test_levels_are_named_by_numbers_and_ranges(text, levels):
    assert [int(level) for level in levels_of(text)] == levels


@pytest.mark.parametrize("text", ["0", "6", "3-1", "one", "1-", "", ",", "1-2-3"])
def test_levels_that_do_not_exist_are_refused(text):
    with pytest.raises(ConfigError, match="--levels"):
        levels_of(text)


def test_a_run_folder_called_function_can_be_audited_by_its_path(capsys, folder, monkeypatch):
    monkeypatch.chdir(folder.path.parent)
    folder.path.rename("function")
    assert run(["audit", "./function", *RECORD, "--json"]) == 0
    capsys.readouterr()
    assert run(["audit", "function"]) == 2
    assert "MODULE:CALLABLE" in capsys.readouterr().err
