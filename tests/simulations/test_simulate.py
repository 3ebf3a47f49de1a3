"""A whole simulation on a small population: complete, repeatable, private where it says so."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from clients.store import NodeStore
from fedrec.config import Scenario, parse_scenario
from fedrec.config.named import read_scenario
from fedrec.errors import BudgetExceededError, ConfigError
from fedrec.privacy.accounts.audit import audit_ledger
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.guarantee import INTERACTION_LEVEL
from fedrec.runs.folder import RunFolder
from fedrec.runs.privacy_record import PrivacyReport
from fedrec.statistics import collection
from simulations.simulate import simulate

TINY = {
    "data": {"source": "synthetic", "synthetic_users": 40, "synthetic_items": 30},
    "model": {"dim": 4, "history_length": 8, "dropout": 0.1},
    "training": {"rounds": 3, "sample_rate": 0.5},
    "privacy": {"delta": 1e-3, "noise_seed": "run"},
    "federation": {"nodes": 3},
    "evaluation": {"every": 1, "bootstrap": 100},
}


def tiny(*overrides: str) -> Scenario:
    return parse_scenario(TINY, overrides)


def test_a_run_leaves_a_complete_folder_whose_ledger_holds_its_claim(tmp_path: Path) -> None:
    summary = simulate(tiny(), tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    assert summary == folder.summary()
    assert summary.privacy is not None
    assert 0 < summary.privacy.epsilon <= 8
    assert summary.privacy.epsilon <= summary.privacy.epsilon_rdp
    assert len(Ledger(folder.ledger_path).events()) == 4  # popularity and three rounds
    assert audit_ledger(folder.ledger_path).holds
    assert [row["round"] for row in folder.metrics()] == [0, 1, 2, 3]
    assert set(summary.floors) == {"popularity", "dp-popularity", "ease", "markov"}
    assert folder.report_path.exists()
    stated = PrivacyReport.model_validate_json(folder.privacy_path.read_text("utf-8")).claims[0]
    assert stated.epsilon == pytest.approx(summary.privacy.epsilon, rel=0.01)
    assert (stated.population, [stage.times for stage in stated.stages]) == (40, [1, 3])
    assert folder.privacy_page_path.exists()
    parts = {f"alone {name}" for name in summary.parts}
    assert set(folder.per_user()) == {"model", *summary.floors, *parts}
    assert NodeStore.open(folder.nodes / "node-000000").histories().times is None  # no member asks for them


def test_the_layer_on_the_device_is_stated_apart_from_the_devices_own_ledgers(tmp_path: Path) -> None:
    small = ("model.branches=['mf']", "training.popularity_start=false", "training.rounds=1", "evaluation.floors=false")
    layer = ("privacy.interaction.noise_multiplier=4", "privacy.noise_multiplier=2")
    summary = simulate(tiny(*small, *layer), tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    assert summary.interaction is not None
    spent = [Ledger(path).spent(1e-3, INTERACTION_LEVEL) for path in folder.nodes.glob("*/ledger.jsonl")]
    assert summary.interaction.epsilon == pytest.approx(max(spent), rel=0.01)
    assert summary.privacy is not None
    assert summary.privacy.epsilon == pytest.approx(Ledger(folder.ledger_path).spent(1e-3), rel=0.01)
    assert "neither added nor compared" in folder.report_path.read_text("utf-8")


@pytest.mark.parametrize("override", ["privacy.enabled=true", "privacy.enabled=false"])
def test_the_same_seed_gives_the_same_metrics_twice(tmp_path: Path, override: str) -> None:
    runs = [simulate(tiny(override), tmp_path / name) for name in ("one", "two")]
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].floors == runs[1].floors


@pytest.mark.slow
def test_another_seed_gives_other_metrics(tmp_path: Path) -> None:
    runs = [simulate(tiny(f"run.seed={seed}", "evaluation.floors=false"), tmp_path / str(seed)) for seed in (1, 2)]
    assert runs[0].metrics != runs[1].metrics


def test_the_number_of_nodes_does_not_change_an_open_run(tmp_path: Path) -> None:
    settings = ("privacy.enabled=false", "evaluation.floors=false")
    one, many = (simulate(tiny(*settings, f"federation.nodes={n}"), tmp_path / str(n)) for n in (1, 40))
    assert one.metrics == pytest.approx(many.metrics, abs=0.03)  # float order may swap two items of nearly equal score


def test_rounds_are_chosen_on_validation_and_all_is_trained_anew(tmp_path: Path) -> None:
    scenario = tiny("privacy.enabled=false", "selection.enabled=true", "selection.every=1", "evaluation.floors=false")
    summary = simulate(scenario, tmp_path / "run")
    rows = RunFolder.open(tmp_path / "run").metrics()
    looks = {
        row["round"]: row["metrics"]["ndcg@10"] for row in rows if row["phase"] == "selection" and "metrics" in row
    }
    assert list(looks) == [0, 1, 2, 3]
    assert summary.rounds == max(looks, key=lambda number: (looks[number], -number))
    assert not (tmp_path / "run" / "selection").exists()
    assert any("chosen by ndcg@10" in note for note in summary.notes)


def test_what_cannot_be_private_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="delta"):
        simulate(tiny("privacy.delta=0.5"), tmp_path / "run")
    with pytest.raises(BudgetExceededError, match="below what one round costs"):
        simulate(tiny("privacy.noise_multiplier=0.2", "privacy.epsilon=0.5"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_server_and_nodes_call_the_release_before_training_by_what_is_in_it(tmp_path: Path) -> None:
    simulate(tiny('model.branches=["mf", "neighbours"]', "evaluation.floors=false"), tmp_path / "run")
    ledgers = [tmp_path / "run" / "ledger.jsonl", *(tmp_path / "run" / "nodes").glob("*/ledger.jsonl")]
    assert len(ledgers) == 4
    assert {Ledger(path).charges()[0].name for path in ledgers} == {"popularity+pairs"}


def test_what_cannot_be_trained_on_the_data_is_left_out_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pairs", "gram"):
        monkeypatch.setitem(collection.STATISTICS, name, replace(collection.STATISTICS[name], limit=20))
    asked = ('model.branches=["mf", "neighbours"]', 'model.members=["ease"]', "evaluation.floors=false")
    summary = simulate(tiny(*asked), tmp_path / "run")
    assert set(summary.fusion) == {"mf"}
    for name in ("neighbours", "ease"):
        assert f"{name} was left out of the fusion: it is made from pairs of at most 20 items" in " ".join(
            summary.notes
        )
    assert "was left out" in RunFolder.open(tmp_path / "run").report_path.read_text()


def test_a_run_of_which_nothing_is_left_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(collection.STATISTICS, "gram", replace(collection.STATISTICS["gram"], limit=20))
    with pytest.raises(ConfigError, match="nothing is left to recommend by; ease was left out"):
        simulate(tiny("model.branches=[]", 'model.members=["ease"]', "training.rounds=0"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_recent_popularity_is_counted_until_the_midnight_after_the_data(tmp_path: Path) -> None:
    settings = ('model.branches=["mf"]', "training.rounds=1", "training.fusion_rounds=1", "evaluation.floors=false")
    noise = ("privacy.noise_multiplier=2", "privacy.epsilon=100")  # to be known without being solved for
    summary = simulate(tiny('model.members=["recent-popularity"]', *settings, *noise), tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    assert "recent-popularity" in summary.fusion
    assert audit_ledger(folder.ledger_path).holds
    assert Ledger(folder.ledger_path).charges()[0].name == "popularity+recency"
    times = NodeStore.open(folder.nodes / "node-000000").histories().times
    end = folder.scenario().model.recency_end
    assert times is not None
    assert end is not None
    assert end % 86_400 == 0
    assert times.max() <= end


def test_recent_popularity_is_left_out_where_there_are_no_times(tmp_path: Path) -> None:
    source = tmp_path / "sequences.txt"
    source.write_text("".join(f"{user} {user % 3 + 1} {user % 4 + 4} {user % 5 + 8} 13\n" for user in range(20)))
    asked = (f"data.source={source}", 'model.members=["recent-popularity", "popularity"]', "training.rounds=1")
    scenario = tiny(*asked, "privacy.enabled=false", "evaluation.floors=false", "training.fusion_rounds=1")
    summary = simulate(scenario, tmp_path / "run")
    assert "recent-popularity was left out of the fusion: it counts by time" in " ".join(summary.notes)
    assert "recent-popularity" not in summary.fusion


def test_a_fusion_of_everything_is_played_in_stages_and_measured_beside_its_parts(tmp_path: Path) -> None:
    members = ("ease", "knn", "markov", "popularity", "ials")
    stages = ("training.ials_rounds=2", "training.fusion_rounds=2", "training.evaluation_share=0.3")
    most = ("privacy.evaluation_share=0.9", "evaluation.floors=false")  # else noise may leave nothing of twelve ranks
    summary = simulate(tiny(f"model.members={list(members)}", *stages, *most), tmp_path / "run")
    names = [charge.name for charge in Ledger(tmp_path / "run" / "ledger.jsonl").charges()]
    assert names == ["popularity+gram+transitions", *["training"] * 3, *["factors"] * 2, *["fusion"] * 2, "ranks"]
    assert audit_ledger(tmp_path / "run" / "ledger.jsonl").holds
    assert summary.privacy is not None
    assert summary.privacy.epsilon <= 8
    assert set(summary.fusion) == {"cf", "mf", "seq", *members}
    assert sum(summary.fusion.values()) == pytest.approx(1)
    assert set(summary.parts) == {"cf", "mf", "seq", "trained", "equal weights", *members}
    assert summary.best_part in summary.parts
    assert set(summary.gain) == {"hr@10", "ndcg@10"}
    assert set(summary.federated) >= {"hr@10", "ndcg@10", "mrr@10"}


@pytest.mark.slow
def test_the_number_of_nodes_does_not_change_an_open_fusion(tmp_path: Path) -> None:
    settings = ("privacy.enabled=false", "evaluation.floors=false", 'model.members=["ease", "ials"]')
    stages = ("training.ials_rounds=2", "training.fusion_rounds=2", "training.evaluation_share=0.3")
    one, many = (simulate(tiny(*settings, *stages, f"federation.nodes={n}"), tmp_path / str(n)) for n in (1, 40))
    assert one.federated == many.federated
    assert one.fusion == pytest.approx(many.fusion, abs=1e-5)
    assert one.metrics == pytest.approx(many.metrics, abs=0.02)


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.device='nonsense'"):
        simulate(tiny("run.device=nonsense"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ratings_cannot_be_learnt_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.local\.loss=mse needs ratings, but 'synthetic' has none"):
        simulate(tiny("training.local.loss=mse", "training.popularity_start=false"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_little_memory_for_one_user_is_refused_before_anything_is_written_and_the_least_works(
    tmp_path: Path,
) -> None:
    large = ("model.dim=128", "model.history_length=200", "training.rounds=1", "evaluation.floors=false")
    with pytest.raises(ConfigError, match=r"run\.memory_mib=1 is too little .* set it to \d+ or more") as refused:
        simulate(tiny(*large, "run.memory_mib=1"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    least = re.search(r"set it to (\d+)", str(refused.value))
    assert least is not None
    assert simulate(tiny(*large, f"run.memory_mib={least[1]}"), tmp_path / "run").rounds == 1


def test_a_run_that_makes_private_parameters_anew_stores_none_and_is_measured(tmp_path: Path) -> None:
    short = ("model.branches=['mf']", "training.rounds=2", "evaluation.every=0", "evaluation.floors=false")
    summary = simulate(tiny("training.local.private_start=rebuilt", *short), tmp_path / "run")
    assert summary.metrics["hr@10"] > 0
    assert list((tmp_path / "run" / "nodes").glob("*/state")) == []


def test_a_run_whose_noise_is_too_small_for_its_rounds_ends_with_the_budget(tmp_path: Path) -> None:
    scenario = tiny(
        "privacy.noise_multiplier=1.0", "training.rounds=50", "training.sample_rate=1.0", "evaluation.every=0"
    )
    summary = simulate(scenario, tmp_path / "run")
    assert summary.privacy is not None
    assert 0 < summary.rounds < 50
    assert summary.privacy.epsilon <= 8


def test_a_cohort_of_nobody_still_releases_noise(tmp_path: Path) -> None:
    scenario = tiny(
        "training.sample_rate=0.0001",
        "privacy.noise_multiplier=1",
        "training.popularity_start=false",
        "evaluation.floors=false",
    )
    summary = simulate(scenario, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row.get("cohort") for row in rows if row["round"]} == {0}
    assert len(Ledger(tmp_path / "run" / "ledger.jsonl").events()) == 3
    assert summary.rounds == 3


def test_the_paper_protocol_is_reported_only_when_asked_for_and_by_name(tmp_path: Path) -> None:
    asked = simulate(tiny("evaluation.sampled_negatives=10", "evaluation.floors=false"), tmp_path / "asked")
    assert set(asked.sampled) == {"sampled:10"}
    assert asked.sampled["sampled:10"]["hr@10"] >= asked.metrics["hr@10"]


@pytest.mark.parametrize("name", ["epsilon-2"])
def test_a_preset_spends_its_budget_on_one_release(name: str, tmp_path: Path) -> None:
    scenario = read_scenario("tiny", ["data.synthetic_users=40", "evaluation.every=0"], name)
    summary = simulate(scenario, tmp_path / "run")
    assert summary.privacy is not None
    assert 0.98 * scenario.privacy.epsilon <= summary.privacy.epsilon <= scenario.privacy.epsilon
    assert set(summary.fusion) == {"nearby", "content", "recent-popularity"}
    assert len(Ledger(RunFolder.open(tmp_path / "run").ledger_path).events()) == 1
