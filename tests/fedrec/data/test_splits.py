from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.config import DataConfig
from fedrec.data.histories import Histories
from fedrec.data.splits import Split, split_log
from fedrec.errors import DataError


def rows_of(histories):
    return [histories[user].tolist() for user in range(len(histories))]


def naive_last(history, count):
    return (history[:-count], history[-count:]) if len(history) > count else (history, [])


@given(data=st.data(), count=st.integers(1, 3))
def test_last_n_is_what_a_naive_loop_holds_out(any_log, data, count):
    log = data.draw(any_log)
    histories = rows_of(log.histories())
    final = [naive_last(history, count) for history in histories]
    selection = [naive_last(train, count) for train, _ in final]
    if not any(targets for _, targets in final):
        with pytest.raises(DataError, match="use more data"):
            split_log(log, DataConfig(split="last-n", last_n=count))
        return

    stages = split_log(log, DataConfig(split="last-n", last_n=count))

    assert list(zip(rows_of(stages.final.train), rows_of(stages.final.targets), strict=True)) == final
    assert list(zip(rows_of(stages.selection.train), rows_of(stages.selection.targets), strict=True)) == selection


def test_leave_last_out_chooses_on_the_second_last_and_tests_on_the_last(make_log):
    stages = split_log(make_log([0, 0, 0, 0], [3, 1, 0, 2], [1.5, 2, 3, 4]), DataConfig())
    assert rows_of(stages.selection.train) == [[3, 1]]
    assert rows_of(stages.selection.targets) == [[0]]
    assert rows_of(stages.final.train) == [[3, 1, 0]]
    assert rows_of(stages.final.targets) == [[2]]


def test_one_event_users_train_and_are_never_asked(make_log):
    stages = split_log(make_log([0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2], [1.5, 2, 3, 4, 5, 6]), DataConfig())
    assert rows_of(stages.final.train) == [[0], [0], [0, 1]]
    assert rows_of(stages.final.targets) == [[], [1], [2]]
    assert rows_of(stages.selection.train) == [[0], [0], [0]]
    assert rows_of(stages.selection.targets) == [[], [], [1]]


def test_events_of_one_second_keep_the_order_of_their_rows(make_log):
    tied = make_log([0, 0, 0], [2, 0, 1], [7.5, 7.5, 7.5], rows=[5, 9, 1])
    assert rows_of(split_log(tied, DataConfig()).final.targets) == [[0]]


@given(data=st.data(), share=st.floats(0.05, 0.9), split=st.sampled_from(["leave-last-out", "last-n", "global-time"]))
def test_no_test_event_is_in_anything_but_the_final_targets(any_log, data, share, split):
    log = data.draw(any_log)
    try:
        stages = split_log(log, DataConfig(split=split, test_share=share, last_n=2))
    except DataError:
        return
    for user, history in enumerate(rows_of(log.histories())):
        train, asked = stages.final.train[user].tolist(), stages.final.targets[user].tolist()
        earlier, chosen = stages.selection.train[user].tolist(), stages.selection.targets[user].tolist()
        assert train + asked in (history, history[: len(train)])
        assert earlier + chosen in (train, train[: len(earlier)])


def test_global_time_divides_all_users_at_one_moment(make_log):
    log = make_log([0, 1, 0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1, 2, 3], [1.5, 2, 3, 4, 5, 6, 7, 8])
    stages = split_log(log, DataConfig(split="global-time", test_share=0.25))
    assert rows_of(stages.final.train) == [[0, 2, 1], [1, 3], [0]]
    assert rows_of(stages.final.targets) == [[3], [2], []]
    assert rows_of(stages.selection.train) == [[0, 2], [1, 3], []]
    assert rows_of(stages.selection.targets) == [[1], [], []]  # user 2 is unknown before the cut: not asked


def test_global_time_never_divides_one_second(make_log):
    log = make_log([0, 1, 0, 1], [0, 1, 2, 3], [1.0, 1.0, 2.0, 2.0])
    stages = split_log(log, DataConfig(split="global-time", test_share=0.25))
    assert rows_of(stages.final.targets) == [[2], [3]]


def test_global_time_without_times_is_refused(make_log):
    with pytest.raises(DataError, match="leave-last-out"):
        split_log(make_log([0, 0, 0], [0, 1, 2], [0.0, 1.0, 2.0]), DataConfig(split="global-time"))


def test_a_split_that_asks_nobody_is_refused(make_log):
    with pytest.raises(DataError, match="leave-last-out split leaves no user"):
        split_log(make_log([0, 1], [0, 1], [1.5, 2.5]), DataConfig())


def test_fingerprints_differ_by_data_rule_parameter_and_stage_and_by_nothing_else(make_log):
    log = make_log([0, 1, 0, 1, 0, 1, 0], [0, 1, 2, 3, 1, 2, 3], [1.5, 2, 3, 4, 5, 6, 7])
    other = make_log([0, 1, 0, 1, 0, 1, 0], [0, 1, 2, 3, 1, 2, 3], [1.5, 2, 3, 4, 5, 6, 8])
    prints = []
    for data, config in [
        (log, DataConfig()),
        (other, DataConfig()),
        (log, DataConfig(split="last-n", last_n=1)),
        (log, DataConfig(split="last-n", last_n=2)),
        (log, DataConfig(split="global-time", test_share=0.2)),
        (log, DataConfig(split="global-time", test_share=0.3)),
        (log, DataConfig(split="cold-items", cold_share=0.25)),
        (log, DataConfig(split="cold-items", cold_share=0.4)),
        (log, DataConfig(split="cold-items", cold_share=0.25, cold_seed=1)),
    ]:
        stages = split_log(data, config)
        prints += [stages.selection.fingerprint, stages.final.fingerprint]
    assert len(set(prints)) == len(prints)
    unrelated = DataConfig(last_n=7, test_share=0.7, synthetic_users=3)
    assert split_log(log, unrelated).final.fingerprint == prints[1]


def test_the_fingerprint_is_stable_across_releases(make_log):
    log = make_log([0, 0, 0], [0, 1, 2], [10.0, 20.0, 30.0])
    expected = "700304b56a6cf8f2101434811c3ccf959c15939659a6618af3d6ce3d9c653b56"
    assert split_log(log, DataConfig()).final.fingerprint == expected


def test_a_split_refuses_targets_of_a_user_without_training():
    with pytest.raises(ValueError, match="training event"):
        Split(train=Histories.from_lists([[]]), targets=Histories.from_lists([[1]]), fingerprint="")
    with pytest.raises(ValueError, match="same"):
        Split(train=Histories.from_lists([[1]]), targets=Histories.from_lists([]), fingerprint="")


def test_all_histories_have_all_users(tiny_dataset):
    stages = tiny_dataset.splits
    parts = [stages.selection.train, stages.selection.targets, stages.final.train, stages.final.targets]
    assert {len(part) for part in parts} == {tiny_dataset.log.num_users}
    assert np.all(stages.final.targets.lengths == (tiny_dataset.log.histories().lengths >= 2))


def test_training_histories_carry_the_ratings_of_their_events_and_the_split_is_the_same(make_log):
    plain = make_log([0, 1, 0, 1, 0], [2, 0, 1, 2, 0], [3.5, 1, 2, 4, 5])
    rated = replace(plain, ratings=np.array([5, 1, 3, 2, 4], dtype=np.float32))
    stages = split_log(rated, DataConfig())
    assert (stages.final.train.items.tolist(), stages.final.train.ratings.tolist()) == ([1, 2, 0], [3, 5, 1])
    assert stages.selection.train.ratings.tolist() == [3, 1]
    unrated = split_log(plain, DataConfig())
    assert unrated.final.train.ratings is None
    assert unrated.final.fingerprint == stages.final.fingerprint


@given(data=st.data(), seed=st.integers(0, 3))
def test_cold_items_are_met_by_nobody_in_training_and_each_user_is_asked_for_its_last_one(any_log, data, seed):
    log = data.draw(any_log)
    try:
        stages = split_log(log, DataConfig(split="cold-items", cold_share=0.3, cold_seed=seed))
    except DataError:
        return
    hidden, chosen = (set(np.flatnonzero(stage.candidates).tolist()) for stage in (stages.final, stages.selection))
    assert not hidden & chosen
    for user, history in enumerate(rows_of(log.histories())):
        for stage, unseen, asked in [(stages.final, hidden, hidden), (stages.selection, hidden | chosen, chosen)]:
            train = [item for item in history if item not in unseen]
            assert stage.train[user].tolist() == train
            last = [item for item in history if item in asked][-1:]
            assert stage.targets[user].tolist() == (last if train else [])


def test_as_many_items_are_hidden_as_were_asked_for(tiny_dataset):
    stages = split_log(tiny_dataset.log, DataConfig(split="cold-items", cold_share=0.2))
    assert stages.final.candidates.sum() == stages.selection.candidates.sum() == 6


def test_a_split_refuses_a_target_that_is_no_candidate():
    with pytest.raises(ValueError, match="candidates"):
        Split(
            train=Histories.from_lists([[1]]),
            targets=Histories.from_lists([[0]]),
            fingerprint="",
            candidates=np.array([False, True]),
        )
