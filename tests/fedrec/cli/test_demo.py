"""The demo: with the data, without the data, and what it leaves."""

import json
import re

import pytest

from fedrec.cli.main import run
from fedrec.errors import DataError

SMALL = {
    "data.synthetic_users": 60,
    "data.synthetic_items": 40,
    "model.dim": 8,
    "model.history_length": 10,
    "training.rounds": 1,
    "evaluation.every": 0,
    "evaluation.bootstrap": 100,
    "privacy.delta": 1e-3,
}


def demo(out, *more, **settings):
    options = [part for key, value in {**SMALL, **settings}.items() for part in ("--set", f"{key}={value}")]
    return run(["demo", "--out", str(out), *options, *more])


@pytest.fixture
def without_data(monkeypatch):
    def fail(name, **_):
        raise DataError(f"data set {name!r} is not available: no network")

    monkeypatch.setattr("fedrec.cli.demo.get_dataset", fail)


def test_without_data_it_says_so_and_ends_with_everything_that_it_promises(without_data, tmp_path, capsys):
    out = tmp_path / "demo"
    assert demo(out) == 0
    captured = capsys.readouterr()

    assert "no network" in captured.err
    assert "synthetic population" in captured.err
    rows = re.findall(r"│ (\S.*?) +│ +(0\.\d{3}) \[(0\.\d{3}), (0\.\d{3})\] │ +(0\.\d{3}) \[", captured.out)
    labels = [row[0] for row in rows]
    assert labels[:5] == ["popularity", "DP popularity", "EASE", "Markov", "federated, no DP"]
    assert labels[5].startswith("federated, epsilon 8")
    assert all(float(low) <= float(value) <= float(high) for _, value, low, high, _ in rows)
    for promised in ("epsilon", "delta", "unit: user", "adversary: ", "bytes per client and round: "):
        assert promised in captured.out
    without, private = (json.loads((out / name / "summary.json").read_text()) for name in ("without-dp", "with-dp"))
    assert without["privacy"] is None
    assert private["non_private"]["metrics"] == without["metrics"]
    report = out / "with-dp" / "report.html"
    assert f"report: {report}" in captured.out
    assert f"{without['metrics']['ndcg@10']:.3f}" in report.read_text()

    sentence = re.search(r"^next: \S+ (recommend .*)$", captured.out, re.MULTILINE)
    assert run(sentence[1].split()) == 0


def test_a_folder_that_is_not_empty_is_refused_before_anything_is_trained(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert demo(tmp_path) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert str(tmp_path) in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_with_the_data_it_trains_on_movielens(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FEDREC_DATA", str(shared_data))
    options = [part for pair in ("training.rounds=2", "evaluation.every=0") for part in ("--set", pair)]
    assert run(["demo", "--out", str(tmp_path / "demo"), *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["with-dp"]["protocol"]["source"] == "ml-100k"
    assert result["with-dp"]["protocol"]["evaluated_users"] == 943
    assert result["with-dp"]["floors"]["ease"]["hr@10"] == pytest.approx(0.148, abs=0.002)
