"""The central twin: the same fusion by other means, so that its distance is what federation costs, and no error."""

import ast
from pathlib import Path

import numpy as np
import pytest

from fedrec.config import parse_scenario
from fedrec.errors import ConfigError
from fedrec.models.mixing import Mixing
from fedrec.runs.folder import RunFolder
from simulations.benches import central_fusion, central_model, central_run
from simulations.benches.central_fusion import refuse_unknown
from simulations.benches.central_run import run_central
from simulations.progress import Silence
from simulations.simulate import simulate

EVERYBODY = {
    "data": {"synthetic_users": 40, "synthetic_items": 30},
    "model": {"dim": 4, "history_length": 100, "dropout": 0.0, "members": ["popularity", "ease", "markov", "ials"]},
    "training": {"rounds": 3, "sample_rate": 1.0, "fusion_rounds": 3, "ials_rounds": 2},
    "privacy": {"enabled": False},
    "evaluation": {"every": 0, "bootstrap": 100, "floors": False},
}
"""Nothing is left to chance: all users in every round, windows of whole histories, no dropout."""

ENGINE = ("clients", "server", "fedrec.flower", "fedrec.rounds", "simulations.phase", "simulations.simulate")
PURE = {"fedrec.training.calibration", "fedrec.training.randomness"}


@pytest.mark.parametrize("weights", ["learned", "equal"])
def test_where_nothing_is_drawn_the_twin_ranks_as_the_federation_does(weights, tmp_path):
    scenario = parse_scenario(EVERYBODY, [f"model.branch_weights={weights}"])
    federated = simulate(scenario, tmp_path / "federated")
    central = run_central(scenario, tmp_path / "central")

    ours, theirs = (RunFolder.open(tmp_path / name).per_user()["model"] for name in ("federated", "central"))
    np.testing.assert_array_equal(ours.users, theirs.users)
    np.testing.assert_allclose(theirs.values["auc"], ours.values["auc"], atol=0.02)
    assert theirs.values["mrr"].mean() == pytest.approx(ours.values["mrr"].mean(), abs=2e-3)
    assert central.fusion == pytest.approx(federated.fusion, abs=1e-4)
    assert central.protocol == federated.protocol


def test_batches_and_windows_are_drawn_anew_by_seed(tmp_path):
    drawn = ["training.sample_rate=0.5", "model.history_length=4", "model.dropout=0.3", 'model.members=["ease"]']
    runs = [parse_scenario(EVERYBODY, [*drawn, "training.fusion_rounds=0", *more]) for more in ([], [], ["run.seed=1"])]
    steps = []

    class Watcher(Silence):
        def round(self, row):
            steps.append(row["round"])

    found = [run_central(run, tmp_path / str(n), progress=Watcher()) for n, run in enumerate(runs)]
    assert steps == [1, 2, 3] * 3
    assert found[0].metrics == found[1].metrics
    assert found[0].metrics != found[2].metrics
    prior = Mixing(runs[0].model).weights[0].tolist()
    assert list(found[0].fusion.values()) == pytest.approx(prior)


def test_a_large_catalogue_s_pairs_are_counted_as_they_are(tmp_path, monkeypatch):
    small = parse_scenario(EVERYBODY, ["training.rounds=1"])
    exact = run_central(small, tmp_path / "small")
    monkeypatch.setattr("simulations.benches.central_fusion.MAX_EXACT", 10)
    assert run_central(small, tmp_path / "large").metrics == exact.metrics


@pytest.mark.parametrize(
    "setting",
    ["model.sequence_encoder=lstm", 'model.branches=["neumf"]', "training.local.steps=2", "model.id_dropout=0.1"],
)
def test_what_the_twin_does_not_know_is_refused(setting, tmp_path):
    with pytest.raises(ConfigError, match="no central twin of this"):
        run_central(parse_scenario(EVERYBODY, [setting]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_user_level_privacy_has_no_twin():
    with pytest.raises(ConfigError, match=r"privacy\.enabled"):
        refuse_unknown(parse_scenario(EVERYBODY, ["privacy.enabled=true"]))


@pytest.mark.parametrize("module", [central_fusion, central_model, central_run])
def test_the_twin_reads_nothing_of_the_federation_s_training(module):
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    read = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not {name for name in read if name.startswith(ENGINE)}
    assert {name for name in read if name.startswith("fedrec.training")} <= PURE
