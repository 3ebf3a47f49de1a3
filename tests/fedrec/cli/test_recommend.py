"""Recommending to a user whom the run has not seen."""

import json

import numpy as np
import pytest

from fedrec.cli.main import run
from fedrec.config import parse_scenario
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.flower.roster import Roster
from fedrec.flower.state import RunState
from fedrec.models import build_model
from fedrec.rounds import NodeCard
from fedrec.runs.folder import RunFolder
from fedrec.training.scoring import fold_in, score_users
from server.checkpoint import Checkpoints

NUM_ITEMS = 12
SCENARIO = parse_scenario({"model": {"dim": 4, "history_length": 5, "dropout": 0.0}, "run": {"seed": 3}})


@pytest.fixture
def catalogue():
    features = np.random.default_rng(0).normal(size=(NUM_ITEMS, 3)).astype(np.float32)
    return Catalogue(
        item_ids=tuple(f"m{100 + code}" for code in range(NUM_ITEMS)),
        titles=tuple(f"Film {code} [uncut]" for code in range(NUM_ITEMS)),
        features=features,
        feature_names=("a", "b", "c"),
    )


@pytest.fixture
def model(catalogue):
    return build_model(SCENARIO.model, catalogue, SCENARIO.run.seed)


@pytest.fixture
def trained_run(tmp_path, catalogue):
    return save_run(tmp_path / "run", catalogue, SCENARIO)


def save_run(path, catalogue, scenario):
    """Return a run's folder with one checkpoint, as a simulation leaves it."""
    folder = RunFolder.create(path, scenario)
    catalogue.save(folder.catalogue)
    card = NodeCard(key="node", num_users=1, catalogue_digest=catalogue.digest)
    shared = build_model(scenario.model, catalogue, scenario.run.seed).shared_state()
    state = RunState(run_id="r", round=1, roster=Roster(cards=(card,)), shared=shared, optimizer={})
    Checkpoints(folder.checkpoints, catalogue.digest).save(state)
    return folder.path


def recommend(folder, history, *more):
    return run(["recommend", "--run", str(folder), "--history", history, *more])


def test_the_list_is_in_the_order_of_the_folded_in_scores_without_the_history(trained_run, model, catalogue, capsys):
    assert recommend(trained_run, "m103,m107", "--k", "20", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["recommendations"]

    history = Histories.from_lists([[3, 7]])
    shared = model.shared_state()
    scores = score_users(model, shared, fold_in(model, shared, history), history)[0]
    expected = [code for code in sorted(range(NUM_ITEMS), key=lambda c: -scores[c]) if code not in (3, 7)]
    assert [row["item"] for row in listed] == [catalogue.item_ids[code] for code in expected]
    assert [row["score"] for row in listed] == pytest.approx([float(scores[code]) for code in expected], abs=1e-6)


def test_one_event_is_enough_and_titles_are_printed_as_they_stand(trained_run, capsys):
    assert recommend(trained_run, "m100", "--k", "3") == 0
    shown = capsys.readouterr().out
    assert shown.count("[uncut]") == 3
    assert "Film 0 " not in shown


def test_reasons_are_complete_as_json_and_add_up(trained_run, model, capsys):
    assert recommend(trained_run, "m103, m107", "--k", "1", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    (pick,) = result["recommendations"]
    history = Histories.from_lists([[3, 7]])
    scores = score_users(model, model.shared_state(), fold_in(model, model.shared_state(), history), history)[0]
    assert set(pick["contributions"]) == {"cf", "mf", "seq"}
    assert sum(pick["contributions"].values()) == pytest.approx(pick["score"] - scores.mean(), abs=1e-5)
    for kind in ("influence", "nearest"):
        assert {event["item"] for event in pick[kind]} == {"m103", "m107"}
        assert {event["position"] for event in pick[kind]} == {0, 1}
    assert pick["attributes"] == []
    assert result["attention"] is None
    assert [item["title"] for item in result["history"]] == ["Film 3 [uncut]", "Film 7 [uncut]"]


def test_reasons_are_words_that_name_films_of_the_history(trained_run, capsys):
    assert recommend(trained_run, "m103, m107", "--k", "1", "--json") == 0
    (pick,) = json.loads(capsys.readouterr().out)["recommendations"]
    assert recommend(trained_run, "m103, m107", "--k", "1", "--explain") == 0
    shown = capsys.readouterr().out
    assert f"{pick['contributions']['cf']:+.2f} from your taste" in shown
    assert "above the average item" in shown
    assert ("hangs on: " in shown) == (pick["influence"][0]["score_lost"] > 0)
    assert "sent to nobody" in shown

    assert recommend(trained_run, "m103, m107", "--k", "1") == 0
    assert "above the average item" not in capsys.readouterr().out


def test_attention_is_told_where_the_sequence_encoder_has_it(tmp_path, catalogue, capsys):
    scenario = parse_scenario(
        {"model": {"dim": 4, "history_length": 2, "sequence_encoder": "sasrec"}, "run": {"seed": 3}}
    )
    folder = save_run(tmp_path / "run", catalogue, scenario)
    assert recommend(folder, "m101,m102,m103", "--k", "1", "--json") == 0
    weights = [event["weight"] for event in json.loads(capsys.readouterr().out)["attention"]]
    assert weights[0] == 0  # older than the branch looks
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert recommend(folder, "m101,m102,m103", "--k", "1", "--explain") == 0
    assert "the sequence part looks most at: Film " in capsys.readouterr().out


def test_the_same_history_gets_the_same_list_and_nothing_is_written(trained_run, capsys):
    before = sorted((path, path.stat().st_mtime_ns) for path in trained_run.rglob("*"))
    recommend(trained_run, "m101,m102", "--json")
    first = capsys.readouterr().out
    recommend(trained_run, "m101,m102", "--json")
    assert capsys.readouterr().out == first
    assert sorted((path, path.stat().st_mtime_ns) for path in trained_run.rglob("*")) == before


def refused(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_an_unknown_item_is_named_with_ids_like_it(trained_run, capsys):
    assert recommend(trained_run, "m103,m1x") == 2
    message = refused(capsys)
    assert "'m1x'" in message
    assert "m100" in message


@pytest.mark.parametrize("history", ["", " , "])
def test_a_history_of_nothing_is_refused(history, trained_run, capsys):
    assert recommend(trained_run, history) == 2
    assert "--history" in refused(capsys)


def test_a_list_of_no_items_is_refused(trained_run, capsys):
    assert recommend(trained_run, "m103", "--k", "0") == 2
    assert "--k" in refused(capsys)


def test_a_checkpoint_of_another_model_is_refused_with_the_tensor_that_differs(trained_run, capsys):
    config = trained_run / "config.toml"
    config.write_text(config.read_text().replace("dim = 4", "dim = 6"))
    assert recommend(trained_run, "m103") == 2
    message = refused(capsys)
    assert "round-000001.safetensors" in message
    assert "belongs to another model" in message


def test_a_checkpoint_of_another_catalogue_is_refused(trained_run, catalogue, capsys):
    other = Catalogue(
        item_ids=catalogue.item_ids[::-1],
        titles=catalogue.titles,
        features=catalogue.features,
        feature_names=catalogue.feature_names,
    )
    other.save(trained_run / "catalogue")
    assert recommend(trained_run, "m103") == 2
    assert "catalogue" in refused(capsys)


def test_a_damaged_checkpoint_is_refused_by_name(trained_run, capsys):
    (path,) = (trained_run / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:-8])
    assert recommend(trained_run, "m103") == 2
    assert path.name in refused(capsys)


def test_a_run_without_a_checkpoint_says_so(trained_run, capsys):
    for path in (trained_run / "checkpoints").iterdir():
        path.unlink()
    assert recommend(trained_run, "m103") == 2
    assert "no checkpoint" in refused(capsys)


def test_a_folder_that_is_no_run_says_so(tmp_path, capsys):
    assert recommend(tmp_path, "m103") == 2
    assert "not a run" in refused(capsys)
