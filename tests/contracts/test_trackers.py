"""What every tracker keeps, whichever package is behind it; packages that are not installed are stood in for."""

import json
import sys

import pytest

from fedrec.errors import ConfigError
from fedrec.tracking.group import TRACKERS
from fedrec.tracking.tracker import TrackedRow
from tests.fedrec.tracking.fakes import fake_mlflow, fake_tensorboard, fake_wandb

CONFIG = {"run.seed": 3, "model.branches": "cf, mf"}
ROWS = [
    TrackedRow(round=0, phase="final", values={"epsilon": 0.5}),
    TrackedRow(round=1, phase="final", values={"metrics/ndcg@10": 0.25, "epsilon": 0.75}),
]
SUMMARY = {"metrics/hr@10": 0.5}
MADE_BY = {"mlflow": "mlflow.tracking", "tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


@pytest.fixture(params=sorted(TRACKERS))
def name(request):
    return request.param


@pytest.fixture
def seen(name, tmp_path, monkeypatch):
    """Return how to read back what the tracker kept: settings, (name, value, round) and whether it ended well."""
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)

    def events():
        lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        values = [(key, value, line["round"]) for line in lines[1:-1] for key, value in line["values"].items()]
        return lines[0]["config"], values, lines[-1]["event"] == "end" and bool(lines[-1]["summary"])

    if name == "events":
        return events
    kept = {"mlflow": fake_mlflow, "tensorboard": fake_tensorboard, "wandb": fake_wandb}[name](monkeypatch)

    def mlflow():
        (run,) = kept.values()
        return run.params, run.metrics, run.status == "FINISHED"

    def tensorboard():
        (writer,) = kept
        rows = [line.strip("| ").split(" | ") for line in writer.texts["settings"].splitlines()[2:]]
        return (
            dict(rows),
            writer.scalars,
            writer.closed and any(tag.startswith("summary/") for tag, *_ in writer.scalars),
        )

    def wandb():
        (run,) = kept
        values = [(key, value, row["round"]) for row in run.logged for key, value in row.items() if key != "round"]
        return run.given["config"], values, run.exit_code == 0 and bool(run.summary)

    return {"mlflow": mlflow, "tensorboard": tensorboard, "wandb": wandb}[name]


def follow(name, tmp_path, summary):
    tracker = TRACKERS[name](tmp_path)
    tracker.begin("a run", CONFIG)
    for row in ROWS:
        tracker.log(row)
    tracker.end(summary)
    return tracker


def test_it_keeps_settings_and_every_value_at_its_round(name, seen, tmp_path):
    follow(name, tmp_path, SUMMARY)
    config, values, ended = seen()
    assert {key: str(value) for key, value in config.items()} == {key: str(value) for key, value in CONFIG.items()}
    assert [(value, number) for key, value, number in values if not key.startswith("summary/")] == [
        (0.5, 0),
        (0.25, 1),
        (0.75, 1),
    ]
    assert ended


def test_a_run_that_broke_off_does_not_look_finished(name, seen, tmp_path):
    follow(name, tmp_path, {})
    assert not seen()[2]


def test_it_stays_on_the_machine_unless_told_otherwise(name, seen, tmp_path, monkeypatch):
    assert not TRACKERS[name](tmp_path).leaves_machine
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert TRACKERS[name](tmp_path).leaves_machine == (name in ("mlflow", "wandb"))


def test_nothing_is_written_before_it_begins(name, seen, tmp_path):
    TRACKERS[name](tmp_path / "later")
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize("name", MADE_BY)
def test_without_its_package_the_extra_is_named(name, tmp_path, monkeypatch):
    for package in (MADE_BY[name], MADE_BY[name].split(".")[0], name):
        if package != "torch":
            monkeypatch.setitem(sys.modules, package, None)  # import then fails
    with pytest.raises(ConfigError, match=rf"pip install 'fedrec\[{name}\]'"):
        TRACKERS[name](tmp_path)
