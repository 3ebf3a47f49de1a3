"""What a user can get wrong, on the command line: one line that says what to do, code 2, nothing half-written.

Items that the run has not seen and checkpoints of another model are in ``test_recommend.py``.
"""

import json
import shutil

import pytest

from fedrec.cli.main import run

pytestmark = pytest.mark.xdist_group("cli-bad-input")  # what is made for all is made once

GOOD = [(f"u{user}", f"i{item}", 100 * user + item) for user in range(8) for item in range(5)]
FAST = ("training.rounds=1", "evaluation.floors=false", "evaluation.every=0", "privacy.popularity_share=0")


def csv(path, rows, header="user_id,item_id,timestamp"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def simulate(out, *settings, scenario="tiny"):
    options = [part for setting in settings for part in ("--set", setting)]
    return run(["simulate", scenario, "--out", str(out), *options])


@pytest.fixture
def assert_refused(tmp_path, capsys):
    """Check that a simulation was refused in one line that has all of ``words``, and left no folder."""

    def check(words, *settings, scenario="tiny"):
        out = tmp_path / "out"
        assert simulate(out, *settings, scenario=scenario) == 2
        captured = capsys.readouterr()
        error = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        assert captured.err.endswith(error[0] + "\n")
        assert [word for word in words if word not in error[0]] == []
        assert "Traceback" not in captured.err
        assert captured.out == ""
        assert not out.exists()

    return check


FILES = {
    "an empty file": ("", ["bad.csv", "empty", "again"]),
    "a wrong column": ("a,b\n1,2\n", ["bad.csv", "user_id", "a, b", "rename"]),
    "a time that is no time": (
        "user_id,item_id,timestamp\nu,i,5\nu,j,monday\n",
        ["bad.csv", "line 3", "monday", "correct or remove"],
    ),
    "a catalogue of one item": (
        "user_id,item_id,timestamp\n" + "".join(f"u{n % 4},i,{n}\n" for n in range(16)),
        ["2 items", "got 1"],
    ),
    "one event a user": (
        "user_id,item_id,timestamp\n" + "".join(f"u{n},i{n % 3},{n}\n" for n in range(9)),
        ["no user with both training and test events"],
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_bad_file_is_refused(what, tmp_path, assert_refused):
    content, words = FILES[what]
    (tmp_path / "bad.csv").write_text(content)
    assert_refused(words, f"data.source={tmp_path / 'bad.csv'}")


def test_a_missing_file_is_refused(tmp_path, assert_refused):
    missing = tmp_path / "missing.csv"
    assert_refused([str(missing), "check the path"], f"data.source={missing}")


def test_a_feature_that_is_not_a_number_is_refused(tmp_path, assert_refused):
    source = csv(tmp_path / "good.csv", GOOD)
    rows = [(f"i{item}", f"Title {item}", "nan" if item == 2 else item) for item in range(5)]
    items = csv(tmp_path / "items.csv", rows, header="item_id,title,price")
    assert_refused(["items.csv", "line 4", "price", "finite"], f"data.source={source}", f"data.items={items}")


def test_a_scenario_that_is_not_there_is_refused_with_the_nearest(assert_refused):
    assert_refused(["'tny'", "'tiny'", "ml-100k"], scenario="tny")


def test_a_typo_in_a_scenario_is_refused_with_the_nearest_key(tmp_path, assert_refused):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nround = 3\n")
    assert_refused(["mine.toml", "training.round'", "'training.rounds'"], scenario=str(path))


@pytest.mark.parametrize("text", ["[training\n", "rounds = = 3\n"])
def test_a_scenario_that_is_no_toml_is_refused(text, tmp_path, assert_refused):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert_refused(["mine.toml", "not valid TOML"], scenario=str(path))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("privacy.epsilo=3", ["privacy.epsilo'", "'privacy.epsilon'"]),
        ("trainig.rounds=3", ["trainig", "training"]),
        ("privacy.epsilon=-1", ["privacy.epsilon", "-1"]),
        ("training.sample_rate=2", ["training.sample_rate", "2"]),
        ("training.rounds=many", ["training.rounds", "many"]),
        ("rounds", ["--set", "rounds", "section.key=value"]),
        ("privacy.delta=0.02", ["delta", "0.02", "1/N", "60"]),
    ],
)
def test_a_bad_setting_is_refused(setting, words, assert_refused):
    assert_refused(words, setting)


def test_a_budget_below_what_one_round_costs_is_refused(assert_refused):
    words = ["epsilon 0.01", "one round", "raise epsilon"]
    assert_refused(words, "privacy.epsilon=0.01", "privacy.noise_multiplier=1", "privacy.popularity_share=0")


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert simulate(out) == 2
    assert str(out) in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_events_that_repeat_are_dropped_and_said(tmp_path, capsys):
    source = csv(tmp_path / "repeats.csv", GOOD + GOOD[:3])
    assert simulate(tmp_path / "out", f"data.source={source}", "privacy.enabled=false", *FAST) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["protocol"]["num_events"] == len(GOOD)
    (note,) = [note for note in summary["notes"] if note.startswith("dropped")]
    assert "3" in note
    assert note in " ".join(capsys.readouterr().err.split())


def test_users_of_one_event_train_and_are_not_measured(tmp_path):
    source = csv(tmp_path / "some.csv", [*GOOD, ("lonely", "i1", 5)])
    assert simulate(tmp_path / "out", f"data.source={source}", "privacy.enabled=false", *FAST) == 0
    protocol = json.loads((tmp_path / "out" / "summary.json").read_text())["protocol"]
    assert protocol["num_users"] == 9
    assert protocol["evaluated_users"] == 8


@pytest.fixture(scope="module")
def run_without_anybody(tmp_path_factory):
    """A private run of one round in which nobody was sampled."""
    out = tmp_path_factory.mktemp("nobody") / "out"
    assert simulate(out, "training.sample_rate=1e-9", "privacy.noise_multiplier=1", *FAST) == 0
    return out


def test_a_round_in_which_nobody_was_sampled_is_released_and_charged(run_without_anybody):
    """Legal under Poisson sampling: to leave the round out would tell that nobody was sampled."""
    rows = [json.loads(line) for line in (run_without_anybody / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run_without_anybody / "summary.json").read_text())
    assert rows[-1]["cohort"] == 0
    assert summary["privacy"]["rounds"] == 1
    assert run(["audit", str(run_without_anybody), "--levels", "1"]) == 0


def test_a_ledger_with_an_edited_line_is_refused_by_line(run_without_anybody, tmp_path, capsys):
    ledger = shutil.copytree(run_without_anybody, tmp_path / "edited") / "ledger.jsonl"
    lines = ledger.read_text().splitlines()
    edited = [line.replace('"noise_multiplier":', '"noise_multiplier":1', 1) for line in lines]
    number = next(n for n, (was, now) in enumerate(zip(lines, edited, strict=True), 1) if was != now)
    ledger.write_text("\n".join(edited) + "\n")

    assert run(["audit", str(ledger.parent)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert f"line {number}" in captured.err
