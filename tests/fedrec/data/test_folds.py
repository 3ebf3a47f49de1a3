import numpy as np
import pytest

from fedrec.config import DataConfig
from fedrec.data.folds import hide_fold, user_folds
from fedrec.data.load import load_dataset

SMALL = {"synthetic_users": 40, "synthetic_items": 30}


def test_folds_are_of_equal_size_and_owe_nothing_to_the_order_of_users():
    ids = [str(user) for user in range(23)]

    folds = user_folds(ids, 5)
    back = user_folds(ids[::-1], 5)[::-1]

    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    assert folds.tolist() == back.tolist()


def test_each_user_is_new_in_one_fold_with_the_target_and_history_of_everybody_s_split(tiny_dataset):
    log, splits = tiny_dataset.log, tiny_dataset.splits
    seen = []

    for fold in range(4):
        newcomers = hide_fold(log, splits, 4, fold).newcomers
        seen += newcomers.users.tolist()
        for row, user in enumerate(newcomers.users.tolist()):
            assert newcomers.splits.final.targets[row].tolist() == splits.final.targets[user].tolist()
            assert newcomers.splits.final.train[row].tolist() == splits.final.train[user].tolist()

    assert sorted(seen) == list(range(log.num_users))


def test_who_trains_keeps_the_whole_catalogue_and_none_of_the_hidden_users(tiny_dataset):
    log = tiny_dataset.log
    division = hide_fold(log, tiny_dataset.splits, 4, 1)

    hidden = {log.user_ids[user] for user in division.newcomers.users}
    assert division.log.item_ids == log.item_ids
    assert set(division.log.user_ids) == set(log.user_ids) - hidden
    assert len(division.splits.final.train) == division.log.num_users
    np.testing.assert_array_equal(
        division.log.histories().lengths, division.splits.final.train.lengths + division.splits.final.targets.lengths
    )


def test_figures_of_training_users_compare_with_no_other_fold_s_and_those_of_new_users_with_everybody_s(tiny_dataset):
    first, second = (hide_fold(tiny_dataset.log, tiny_dataset.splits, 4, fold) for fold in (0, 1))
    whole = tiny_dataset.splits.final.fingerprint

    assert len({first.splits.final.fingerprint, second.splits.final.fingerprint, whole}) == 3
    assert first.newcomers.splits.final.fingerprint == whole


def test_a_scenario_names_the_fold_that_it_hides():
    whole = load_dataset(DataConfig(**SMALL), seed=0)

    held = load_dataset(DataConfig(**SMALL, user_folds=4, user_fold=2), seed=0)

    assert whole.newcomers is None
    assert held.log.num_users + len(held.newcomers.users) == whole.log.num_users
    assert held.catalogue.digest == whole.catalogue.digest
    assert any("fold 2 of 4" in note for note in held.notes)


@pytest.mark.parametrize("values", [{"user_folds": 1}, {"user_folds": 3, "user_fold": 3}, {"user_fold": 1}])
def test_folds_that_do_not_exist_are_refused(values):
    with pytest.raises(ValueError, match="user_fold"):
        DataConfig(**values)
