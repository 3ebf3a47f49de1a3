import json

import pytest

from fedrec.cli.main import run
from fedrec.data.log import TIE_RULE
from fedrec.data.readers import READERS


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("FEDREC_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ratings(tmp_path):
    """Write 30 users who walk a ring of 12 items, all events of a user in one second but for the first."""
    rows = [f"{user},{(user + step) % 12},{100 if step else 10}" for user in range(30) for step in range(2 + user % 4)]
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,timestamp", *rows, rows[0], "99,3,50"]) + "\n")
    return "ratings.csv"


def out_of(capsys, *arguments):
    assert run(["data", *arguments]) == 0
    return capsys.readouterr()


def test_inspect_prints_sizes_ties_and_spans_and_what_it_read_apart(ratings, capsys):
    printed = out_of(capsys, "inspect", ratings)
    for part in ("users", "31", "density", "popularity Gini", "1970-01-01 to 1970-01-01", "users whose last two"):
        assert part in printed.out
    assert "read userId as user_id" in printed.err
    assert "read userId as user_id" not in printed.out


def test_inspect_as_json_is_the_same_facts(ratings, capsys):
    facts = json.loads(out_of(capsys, "inspect", ratings, "--json").out)
    assert (facts["users"], facts["items"], facts["duplicates"]) == (31, 12, 1)
    assert facts["one_event_users"] == pytest.approx(1 / 31)
    assert facts["tied_ends"] == pytest.approx(22 / 30)
    assert facts["notes"][:2] == ["read ratings.csv as csv", "read userId as user_id"]


def test_audit_says_in_words_what_evaluation_can_show(ratings, capsys):
    printed = out_of(capsys, "audit", ratings).out
    for part in (
        "Rows that repeat user, item and time of an earlier row: 1",
        "3.2% of users have one event",
        "73.3% of users tie at the end",
        TIE_RULE,
        "The median user spans 0.0 hours",
        "Markov HR@10, true order",
        "Order carries",
    ):
        assert part in printed


def test_audit_as_json_has_facts_test_and_findings(capsys):
    report = json.loads(out_of(capsys, "audit", "synthetic", "--json", "--seed", "3").out)
    assert report["shuffle_test"]["order_matters"] is True
    assert report["shuffle_test"]["hit_rate"] > report["shuffle_test"]["shuffled_hit_rate"]
    assert report["tie_rule"] == TIE_RULE
    assert any(finding.startswith("Order carries information") for finding in report["findings"])


def test_audit_of_the_same_seed_is_the_same(capsys):
    first, second = (out_of(capsys, "audit", "synthetic", "--json").out for _ in range(2))
    assert first == second


def test_audit_of_order_without_times_says_so(tmp_path, capsys):
    (tmp_path / "s.txt").write_text("1 a b\n2 b c\n")
    printed = out_of(capsys, "audit", "s.txt").out
    assert "order but no times" in printed
    assert "No user has three events" in printed


def test_formats_names_every_reader(capsys):
    assert set(json.loads(out_of(capsys, "formats", "--json").out)) == set(READERS)
    printed = out_of(capsys, "formats").out
    assert all(name in printed and reader.summary in printed for name, reader in READERS.items())


def test_get_prints_nothing_but_the_folder_on_stdout(tmp_path, capsys):
    folder = tmp_path / "data" / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("1\t2\t3\t4\n")
    assert out_of(capsys, "get", "ml-100k").out == "data/ml-100k\n"
    assert json.loads(out_of(capsys, "get", "ml-100k", "--json").out) == {"name": "ml-100k", "path": "data/ml-100k"}
    assert out_of(capsys, "get", "ml-100k", "--from", str(tmp_path / "data")).out == f"{folder}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get", "nope"), "'nope' is not available"),
        (("inspect", "nope"), "data.source='nope' is no file or folder"),
        (("inspect", "empty.csv"), "empty.csv is empty"),
        (("inspect", "who.csv"), "who.csv: no column for user_id among who, item_id"),
        (("audit", "late.csv"), "late.csv, line 3: time 'late' is not a finite number"),
        (("inspect", "late.csv", "--format", "cvs"), "did you mean 'csv'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "who.csv").write_text("who,item_id\n1,2\n")
    (tmp_path / "late.csv").write_text("user_id,item_id,timestamp\n1,2,3\n1,3,late\n")
    assert run(["data", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
