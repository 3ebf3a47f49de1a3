"""Stand-ins for trackers' packages where they are not installed: they keep what they are given."""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar


class FakeMlflowClient:
    runs: ClassVar = {}

    def __init__(self, tracking_uri):
        self.tracking_uri = tracking_uri

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return name

    def create_run(self, experiment, run_name):
        run = SimpleNamespace(name=run_name, params={}, metrics=[], status=None, uri=self.tracking_uri)
        self.runs[run_name] = run
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def log_param(self, run, key, value):
        self.runs[run].params[key] = value

    def log_metric(self, run, key, value, step=0):
        self.runs[run].metrics.append((key, value, step))

    def set_terminated(self, run, status):
        self.runs[run].status = status


class FakeWandbRun:
    def __init__(self, **given):
        self.given, self.logged, self.summary, self.exit_code = given, [], {}, None

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code):
        self.exit_code = exit_code


def fake_mlflow(monkeypatch):
    """Install a fake ``mlflow.tracking``; return its runs by name."""
    monkeypatch.setattr(FakeMlflowClient, "runs", {})
    tracking = ModuleType("mlflow.tracking")
    tracking.MlflowClient = FakeMlflowClient
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    return FakeMlflowClient.runs


def fake_wandb(monkeypatch):
    """Install a fake ``wandb``; return the list of its runs."""
    runs = []
    package = ModuleType("wandb")
    package.Settings = dict
    package.init = lambda **given: runs.append(FakeWandbRun(**given)) or runs[-1]
    monkeypatch.setitem(sys.modules, "wandb", package)
    return runs


def fake_tensorboard(monkeypatch):
    """Install a fake ``torch.utils.tensorboard``; return the list of its writers."""
    writers = []

    class SummaryWriter:
        def __init__(self, log_dir):
            self.log_dir, self.scalars, self.texts, self.closed = log_dir, [], {}, False
            writers.append(self)

        def add_text(self, tag, text):
            self.texts[tag] = text

        def add_scalar(self, tag, value, step=0):
            self.scalars.append((tag, value, step))

        def flush(self):
            pass

        def close(self):
            self.closed = True

    package = ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    return writers
