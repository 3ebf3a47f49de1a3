"""Items that training never saw: a whole run that hides them, with content of every kind."""

from pathlib import Path

import numpy as np
import pytest

from fedrec.config import parse_scenario
from fedrec.data.load import load_dataset
from fedrec.errors import ConfigError
from fedrec.evaluation.protocol import HIDDEN_ITEMS
from simulations.simulate import simulate

SCENARIO = {
    "data": {"synthetic_users": 60, "synthetic_items": 60, "split": "cold-items", "cold_share": 0.2, "text": True},
    "model": {"dim": 4, "history_length": 8, "id_dropout": 0.3},
    "training": {"rounds": 2, "sample_rate": 0.5},
    "evaluation": {"every": 1, "bootstrap": 100},
}


@pytest.mark.parametrize("private", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_a_run_ranks_hidden_items_among_themselves_beside_floors_that_see_content(tmp_path: Path, private: str) -> None:
    first = parse_scenario(SCENARIO)
    ids = load_dataset(first.data, 0).catalogue.item_ids
    images = np.random.default_rng(0).random((len(ids), 1, 4, 4))
    np.savez(tmp_path / "images.npz", item_ids=np.array(ids[5:]), images=images[5:])
    overrides = [f"data.images={tmp_path / 'images.npz'}", f"privacy.enabled={private}", "privacy.noise_seed=run"]

    summary = simulate(parse_scenario(SCENARIO, overrides), tmp_path / "run")

    assert {"content-popularity", "content-profile"} <= set(summary.floors)
    assert summary.protocol.candidates == HIDDEN_ITEMS.candidates
    assert summary.floors["markov"]["hr@10"] == pytest.approx(10 / 12)  # at chance among twelve
    assert 0 < summary.metrics["ndcg@10"] < 1
    assert any("image content" in note for note in summary.notes)


def test_negatives_from_other_items_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cold-items.*sampled_negatives"):
        parse_scenario(SCENARIO, ["evaluation.sampled_negatives=5"])
