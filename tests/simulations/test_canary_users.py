"""Canary users: what their node answers in rounds of updates, under whatever a run's settings are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedrec.models.split import SharedState
from fedrec.privacy.clipping import user_norms
from fedrec.privacy.mechanism import Mechanism
from simulations.audits.canaries import run_findings
from simulations.canary_users import OVER, _bounded, directions, own_table
from tests.simulations.audits.canaries.canary_runs import UPDATES, run


def mechanism(**settings: float) -> Mechanism:
    return Mechanism(clip_norm=0.5, noise_multiplier=1.0, sample_rate=1.0, population=100, **settings)  # type: ignore[arg-type]  # floats alone


def test_an_items_direction_is_its_own_whoever_else_is_asked_for() -> None:
    together, alone = directions(np.array([3, 7]), 16), directions(np.array([7]), 16)
    assert together[1] == pytest.approx(alone[0])
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0)
    assert abs(float(together[0] @ together[1])) < 0.9


def test_no_direction_is_that_of_all_items_alike() -> None:
    assert np.abs(directions(np.arange(10_000), 4).mean(axis=0)).max() < 0.5 * 5 / 100  # five deviations


def test_canaries_move_the_widest_table_of_items_that_is_trained() -> None:
    tables = {"factors.bias": torch.zeros(9), "factors.embedding": torch.zeros(9, 4), "members.x": torch.zeros(9, 50)}
    assert own_table(SharedState({**tables, "tower.weight": torch.zeros(4, 4)}), 9) == "factors.embedding"
    assert own_table(SharedState({"tower.weight": torch.zeros(4, 4)}), 9) is None


def test_of_an_update_ten_times_too_large_the_clip_leaves_its_norm() -> None:
    assert OVER == 10
    left = _bounded(np.array([2, 5]), torch.zeros(9, 4), mechanism())
    assert user_norms({"row": left}).tolist() == pytest.approx([0.5, 0.5], rel=1e-5)
    assert bool((user_norms({"row": left}) <= 0.5).all())


def test_a_bound_on_rows_bounds_a_canarys_too() -> None:
    left = _bounded(np.array([2]), torch.zeros(9, 4), mechanism(row_clip_norm=0.1))
    assert user_norms({"row": left}).tolist() == pytest.approx([0.1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("privacy.placement=device", "privacy.epsilon=20"),
        ("privacy.placement=distributed", "privacy.noise=skellam", "privacy.minimum_users=30"),
        ("privacy.noise=discrete-gaussian",),
        ("privacy.clipping=adaptive",),
        ("privacy.clipping=rows", "privacy.row_clip_norm=0.2"),
        ("federation.codec.name=int8",),
        ("federation.codec.name=low-rank",),
        ("privacy.correlation=tree", "training.sample_rate=0.5"),
        ("privacy.cohort_cap=150", "training.sample_rate=0.5"),
        ("data.user_folds=5",),
        ("data.split=cold-items",),
        ("training.evaluation_share=0.1",),
    ],
)
def test_canaries_take_part_in_every_kind_of_run(tmp_path: Path, settings: tuple[str, ...]) -> None:
    found = run_findings(run(tmp_path / "run", (*UPDATES, "privacy.epsilon=8", "audit.canaries=80", *settings)))
    assert [one.verdict for one in found.checks] == ["passed"]
