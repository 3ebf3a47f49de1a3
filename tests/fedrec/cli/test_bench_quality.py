"""The bench on quality as a person runs it: parts of the matrix, then the page."""

import json

import pytest

from fedrec.cli.main import run
from simulations.benches.quality.page import quality_page
from simulations.benches.quality.row import read_rows

SETTINGS = ["training.rounds=1", "training.fusion_rounds=1", 'model.members=["markov"]', "evaluation.bootstrap=100"]
OPTIONS = [part for setting in SETTINGS for part in ("--set", setting)]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("quality")
    where = ["--out", str(out), "--store", str(out / "quality.jsonl")]
    arguments = ["bench", "quality", *where, "--data", "tiny", "--seeds", "0", *OPTIONS]
    assert run([*arguments, "--variants", "fusion"]) == 0
    assert run([*arguments, "--variants", "fusion,central"]) == 0
    return out


def test_the_page_is_written_from_what_was_kept_of_the_runs(out):
    page = quality_page(read_rows(out / "quality.jsonl"), ["tiny"])
    for variant, label in (("fusion", "**fusion, federated, no DP**"), ("central", "fusion, central twin")):
        summary = json.loads((out / "tiny" / f"{variant}-0" / "summary.json").read_text("utf-8"))
        assert f"| {label} | {summary['metrics']['hr@10']:.3f} [" in page


def test_a_finished_run_is_not_made_again(out, capsys):
    again = ["bench", "quality", "--out", str(out), "--data", "tiny", "--seeds", "0", "--variants", "central", *OPTIONS]
    assert run(again) == 0
    captured = capsys.readouterr()
    assert captured.out == f"runs made: 0, in {out}\n"
    assert "tiny/central-0: stored" in captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "one"], "--seeds takes whole numbers"),
        (["--variants", "nothing"], "there is no variant 'nothing'"),
        (["--data", "no-such"], "unknown scenario 'no-such'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(options, message, tmp_path, capsys):
    assert run(["bench", "quality", "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
