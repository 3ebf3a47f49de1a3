"""Runs side by side on the command line."""

import json

import numpy as np
import pytest

from fedrec.cli.main import run
from fedrec.config import Scenario
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import Summary

USERS = np.arange(300)


def summary_of(name, hits, epsilon, fingerprint, seed):
    privacy = {
        "epsilon": epsilon,
        "epsilon_rdp": epsilon,
        "epsilon_budget": 8.0,
        "delta": 1e-5,
        "clip_norm": 1.0,
        "noise_multiplier": 1.0,
        "sample_rate": 0.1,
        "population": 300,
        "rounds": 10,
    }
    protocol = {
        "fingerprint": fingerprint,
        "split": "leave-last-out",
        "split_fingerprint": fingerprint,
        "ks": (10,),
        "candidates": "the whole catalogue",
        "seen": "masked",
        "ties": "exact expectation",
        "source": fingerprint,
        "num_users": 300,
        "num_items": 40,
        "num_events": 3000,
        "evaluated_users": 300,
        "bootstrap": 200,
        "seed": seed,
    }
    return Summary.model_validate(
        {
            "name": name,
            "created": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T00:01:00+00:00",
            "rounds": 10,
            "metrics": {"hr@10": hits.mean(), "ndcg@10": hits.mean() / 2},
            "intervals": {"hr@10": (0.1, 0.2)},
            "privacy": privacy if epsilon else None,
            "bytes": {"down_per_client_round": 2e6, "up_per_client_round": 1e6, "down_total": 9, "up_total": 9},
            "timing": {"total": 60, "training": 50, "rounds": 10},
            "protocol": protocol,
            "environment": {
                "fedrec": "0",
                "python": "3",
                "platform": "x",
                "device": "cpu",
                "cpus": 1,
                "packages": {},
            },
        }
    )


@pytest.fixture
def make_run(tmp_path):
    def make(name, hits, epsilon=None, fingerprint="ml-100k", seed=0, dim=64):
        scenario = Scenario.model_validate({"run": {"seed": seed, "name": name}, "model": {"dim": dim}})
        folder = RunFolder.create(tmp_path / name, scenario)
        folder.write_summary(summary_of(name, hits, epsilon, fingerprint, seed))
        folder.write_per_user({"model": RankingResult(users=USERS, values={"hr@10": hits, "ndcg@10": hits / 2})})
        return str(folder.path)

    return make


@pytest.fixture
def hits():
    return np.random.default_rng(0).random(300)


def test_two_runs_are_set_side_by_side(make_run, hits, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")

    code = run(["compare", make_run("plain", hits), make_run("private", hits - 0.05, epsilon=7.9801)])

    shown = capsys.readouterr().out
    assert code == 0
    for text in ("plain", "private", "no DP", "7.99 at 1e-05", "2 MB", "-0.050 [-0.050, -0.050]*", "200 resamples"):
        assert text in shown


def test_json_holds_what_the_tables_say(make_run, hits, capsys):
    first, second = make_run("plain", hits), make_run("private", hits - 0.05, epsilon=7.5)

    code = run(["compare", first, second, "--json"])

    table = json.loads(capsys.readouterr().out)
    assert code == 0
    assert table["reference"] == first
    assert [row["run"] for row in table["runs"]] == [first, second]
    assert table["runs"][0]["differences"] is None
    assert table["runs"][1]["differences"]["hr@10"]["mean"] == pytest.approx(-0.05)
    assert [row["epsilon"] for row in table["runs"]] == [None, 7.5]
    assert table["protocol"]["fingerprint"] == "ml-100k"


def test_several_comparisons_are_corrected_and_said_to_be(make_run, hits, capsys):
    run(["compare", *(make_run(name, hits) for name in ("a", "b", "c"))])

    assert "corrected for 2 comparisons a metric" in capsys.readouterr().out


def test_what_could_not_have_been_seen_is_printed(make_run, hits, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    first, second = make_run("a", hits), make_run("b", hits[::-1].copy())

    run(["compare", first, second, "--json"])
    detectable = json.loads(capsys.readouterr().out)["runs"][1]["differences"]["hr@10"]["detectable"]
    run(["compare", first, second])

    assert f"{detectable:.3f}" in capsys.readouterr().out


def test_runs_of_one_setting_are_pooled_over_their_seeds(make_run, hits, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    runs = [make_run(f"plain-{seed}", hits + seed / 100, seed=seed) for seed in (0, 1, 2)]
    runs += [make_run(f"wide-{seed}", hits + 0.1 + seed / 100, seed=seed, dim=8) for seed in (0, 1, 2)]

    assert run(["compare", "--seeds", *runs]) == 0
    shown = capsys.readouterr().out
    run(["compare", "--seeds", "--json", *runs])

    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [row["seeds"] for row in rows] == [[0, 1, 2], [0, 1, 2]]
    assert rows[0]["spreads"]["hr@10"]["seed_deviation"] == pytest.approx(0.01)
    assert rows[1]["differences"]["hr@10"]["mean"] == pytest.approx(0.1)
    assert rows[1]["differences"]["hr@10"]["seed_deviation"] == pytest.approx(0)
    assert "plain-0 and 2 more" in shown
    assert "+-0.010" in shown


def test_seeds_of_one_setting_alone_are_nothing_to_compare(make_run, hits, capsys):
    runs = [make_run(f"plain-{seed}", hits, seed=seed) for seed in (0, 1)]

    assert run(["compare", "--seeds", *runs]) == 2
    assert "differ in their seed alone" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_another_protocol_is_refused_in_one_line(make_run, hits, capsys, as_json):
    runs = [make_run("first", hits), make_run("other", hits, fingerprint="synthetic")]

    code = run(["compare", *runs, *as_json])

    output = capsys.readouterr()
    assert code == 2
    assert output.out == ""
    assert "other protocol" in output.err.replace("another", "other")
    assert output.err.count("\n") == 1


def test_a_folder_that_is_no_run_is_refused(make_run, hits, tmp_path, capsys):
    code = run(["compare", make_run("first", hits), str(tmp_path / "nothing")])

    assert code == 2
    assert "is not a run: it has no config.toml" in capsys.readouterr().err


def test_one_run_alone_is_refused(make_run, hits, capsys):
    assert run(["compare", make_run("first", hits)]) == 2
    assert "at least two runs" in capsys.readouterr().err
