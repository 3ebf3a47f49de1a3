"""Ratings in a whole simulation: measured where there are some, refused where there are none or others."""

from pathlib import Path

import numpy as np
import pytest

from fedrec.config import Scenario, parse_scenario
from fedrec.errors import ConfigError
from simulations.simulate import simulate

SETTINGS = (
    "model.dim=4",
    "model.history_length=8",
    "model.rating_head=true",
    "training.rounds=2",
    "privacy.enabled=false",
    "evaluation.every=0",
    "evaluation.bootstrap=100",
    "evaluation.floors=false",
)


def rated(folder: Path, *overrides: str) -> Scenario:
    rng = np.random.default_rng(0)
    path = folder / "ratings.csv"
    rows = [f"u{user},i{rng.integers(12)},{rng.integers(1, 6)},{n}" for user in range(12) for n in range(6)]
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]))
    return parse_scenario({}, [f"data.source={path}", *SETTINGS, *overrides])


@pytest.mark.parametrize(
    "overrides",
    [
        ("training.local.task_weights=uncertainty", "training.local.private_start=rebuilt"),
        ("training.local.loss=mse", "model.rating_head=false", "training.popularity_start=false"),
    ],
)
def test_a_run_that_predicts_ratings_says_how_well(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    summary = simulate(rated(tmp_path, *overrides), tmp_path / "run")
    assert set(summary.ratings) == {"model", "global-mean", "item-mean"}
    for errors in summary.ratings.values():
        assert 0 < errors["mae"] <= errors["rmse"] <= 4


def test_ratings_beyond_the_scale_are_refused_with_theirs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rating_scale=\[1, 4\] does not hold these ratings, which run from 1 to 5"):
        simulate(rated(tmp_path, "model.rating_scale=[1,4]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rating_head_without_ratings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.rating_head needs ratings"):
        simulate(parse_scenario({}, SETTINGS), tmp_path / "run")
