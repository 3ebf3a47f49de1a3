import numpy as np
import pytest

from fedrec.baselines import dp_popularity, ease, floors, markov
from fedrec.baselines.floors import DPRelease, floor_notes, measure_floors, rank_with
from fedrec.data.histories import Histories
from fedrec.data.splits import Split, TwoStage
from fedrec.privacy.noise.source import noise_generator

NUM_ITEMS = 30


def walks(num_users, rng):
    """Users who mostly step from an item to its neighbour."""
    steps = rng.choice([1, 1, 1, 7, 11], size=(num_users, 12))
    return (rng.integers(0, NUM_ITEMS, size=(num_users, 1)) + np.cumsum(steps, axis=1)) % NUM_ITEMS


def split_of(rows, held):
    train = Histories.from_lists([row[:-held] for row in rows])
    targets = Histories.from_lists([row[len(row) - held :][:1] for row in rows])
    return Split(train=train, targets=targets, fingerprint=str(held))


@pytest.fixture
def splits():
    rows = walks(80, np.random.default_rng(0))
    return TwoStage(selection=split_of(rows, 2), final=split_of(rows, 1))


def measured(splits, **changes):
    return measure_floors(splits, NUM_ITEMS, (5, 10), 200, np.random.default_rng(0), **changes)


def test_every_floor_comes_with_metrics_intervals_and_its_users_values(splits):
    found = measured(splits)

    assert list(found) == ["popularity", "ease", "markov"]
    for floor in found.values():
        assert floor.metrics == floor.result.means()
        assert all(low <= floor.metrics[name] <= high for name, (low, high) in floor.intervals.items())
        assert floor.metrics.keys() == floor.intervals.keys()


def test_settings_are_the_best_of_their_grid_on_the_validation_targets(splits):
    def quality(scorer):
        return rank_with(scorer, splits.selection, (10,)).means()["ndcg@10"]

    found, train = measured(splits), splits.selection.train

    by_lambda = {value: quality(ease.fit(train, NUM_ITEMS, value)) for value in floors.EASE_GRID}
    by_smoothing = {value: quality(markov.fit(train, NUM_ITEMS, value)) for value in floors.MARKOV_GRID}
    assert by_lambda[found["ease"].setting["regularisation"]] == max(by_lambda.values())
    assert by_smoothing[found["markov"].setting["smoothing"]] == max(by_smoothing.values())


def test_the_test_is_taken_by_a_model_refitted_with_the_validation_event(splits):
    found = measured(splits)["ease"]

    refitted = ease.fit(splits.final.train, NUM_ITEMS, found.setting["regularisation"])

    assert found.metrics == rank_with(refitted, splits.final, (5, 10)).means()


def test_test_targets_have_no_influence_on_the_choice(splits):
    other = Split(
        train=splits.final.train,
        targets=Histories.from_lists(
            [[(row[0] + 5) % NUM_ITEMS] for row in map(splits.final.train.__getitem__, range(80))]
        ),
        fingerprint="other",
    )

    changed = measured(TwoStage(selection=splits.selection, final=other))

    assert {name: floor.setting for name, floor in changed.items()} == {
        name: floor.setting for name, floor in measured(splits).items()
    }


def test_dp_popularity_is_measured_where_a_release_is_given(splits):
    dp = DPRelease(mechanism=dp_popularity.whole_budget(8.0, 1e-5, 80), source=noise_generator(0))

    found = measured(splits, dp=dp)

    assert list(found) == ["popularity", "dp-popularity", "ease", "markov"]
    assert found["dp-popularity"].setting == {"noise_multiplier": dp.mechanism.noise_multiplier}


def test_the_first_of_the_grid_stands_where_nobody_has_a_validation_target(splits):
    nobody = Split(train=splits.selection.train, targets=Histories.from_lists([[]] * 80), fingerprint="empty")

    found = measured(TwoStage(selection=nobody, final=splits.final))

    assert found["ease"].setting == {"regularisation": floors.EASE_GRID[0]}


def test_ease_is_left_out_of_a_large_catalogue_and_said_so(splits, monkeypatch):
    monkeypatch.setattr(floors, "EASE_MAX_ITEMS", NUM_ITEMS - 1)

    assert "ease" not in measured(splits)
    assert floor_notes(NUM_ITEMS) == (
        "EASE was left out: its dense matrix over 30 items is above the limit of 29 items.",
    )
    assert floor_notes(NUM_ITEMS - 1) == ()


@pytest.mark.slow  # 12 s of figures that the quality bench measures too
def test_on_movielens_the_floors_stand_where_they_were_measured_before(ml_100k):
    """Figures of an independent measurement: popularity .086/.044, EASE .147/.072, Markov .145/.077."""
    found = measure_floors(ml_100k.splits, ml_100k.catalogue.num_items, (10,), 100, np.random.default_rng(0))

    assert found["popularity"].metrics["hr@10"] == pytest.approx(0.086, abs=0.001)
    assert found["popularity"].metrics["ndcg@10"] == pytest.approx(0.044, abs=0.001)
    assert found["ease"].metrics["hr@10"] == pytest.approx(0.147, abs=0.003)
    assert found["ease"].metrics["ndcg@10"] == pytest.approx(0.072, abs=0.001)
    assert found["markov"].metrics["hr@10"] == pytest.approx(0.145, abs=0.003)
    assert found["markov"].metrics["ndcg@10"] == pytest.approx(0.077, abs=0.003)
