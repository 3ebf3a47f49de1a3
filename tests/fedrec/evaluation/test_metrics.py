import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.evaluation.metrics import RankingResult, ScoreError, evaluate_ranking
from fedrec.evaluation.ties import expected_metrics
from fedrec.ranking import top_k


def naive(scores, seen, targets, ks):
    """One user after another, with lists and sets."""
    users, rows = [], []
    for user in range(len(targets)):
        known = set(seen[user].tolist())
        wanted = sorted(set(targets[user].tolist()) - known)
        if not wanted:
            continue
        candidates = [scores[user, item] for item in range(scores.shape[1]) if item not in known]
        above = np.array([sum(c > scores[user, item] for c in candidates) for item in wanted])
        tied = np.array([sum(c == scores[user, item] for c in candidates) for item in wanted])
        values = expected_metrics(above, tied, np.array([0, len(wanted)]), ks, len(candidates))
        users.append(user)
        rows.append({name: column[0] for name, column in values.items()})
    return users, rows


@st.composite
def cases(draw):
    num_users, num_items = draw(st.integers(1, 7)), draw(st.integers(2, 9))
    levels = draw(st.integers(1, 6))
    row = st.lists(st.integers(0, levels), min_size=num_items, max_size=num_items)
    scores = draw(st.lists(row, min_size=num_users, max_size=num_users))
    some_items = st.lists(st.integers(0, num_items - 1), max_size=num_items + 2)
    histories = st.lists(some_items, min_size=num_users, max_size=num_users)
    return np.array(scores, np.float32), draw(histories), draw(histories)


@settings(max_examples=80, deadline=None)
@given(cases(), st.integers(1, 4))
def test_the_vectorised_count_is_the_naive_loop_whatever_the_chunk(case, chunk):
    scores, seen, targets = case
    seen, targets = Histories.from_lists(seen), Histories.from_lists(targets)

    result = evaluate_ranking(scores, seen, targets, (1, 3), chunk_users=chunk)
    users, rows = naive(scores, seen, targets, (1, 3))

    assert result.users.tolist() == users
    for position, row in enumerate(rows):
        assert {name: column[position] for name, column in result.values.items()} == pytest.approx(row)


def test_seen_items_are_no_candidates():
    scores = np.array([[9.0, 8.0, 7.0, 6.0]], np.float32)

    result = evaluate_ranking(scores, Histories.from_lists([[0, 1]]), Histories.from_lists([[2]]), (1,))

    assert result.means()["hr@1"] == 1.0


def test_every_unseen_item_of_the_catalogue_is_a_candidate_even_one_that_nobody_took():
    scores = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)

    result = evaluate_ranking(scores, Histories.from_lists([[3]]), Histories.from_lists([[0]]), (2, 3))

    assert result.means()["hr@2"] == 0.0
    assert result.means()["hr@3"] == 1.0


def test_users_without_targets_are_not_counted():
    scores = np.array([[1.0, 2.0], [2.0, 1.0]], np.float32)

    result = evaluate_ranking(scores, Histories.from_lists([[], []]), Histories.from_lists([[], [0]]), (1,))

    assert result.users.tolist() == [1]
    assert result.means()["hr@1"] == 1.0


def test_a_target_that_was_seen_before_is_no_target():
    scores = np.ones((1, 3), np.float32)

    result = evaluate_ranking(scores, Histories.from_lists([[2]]), Histories.from_lists([[2]]), (1,))

    assert result.num_users == 0


def test_a_result_without_users_has_no_mean_and_says_what_to_do():
    result = evaluate_ranking(np.empty((0, 3), np.float32), Histories.from_lists([]), Histories.from_lists([]), (1,))

    with pytest.raises(ScoreError, match="no user has a held-out item to rank: use more data"):
        result.means()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error_that_names_the_user(bad):
    scores = np.zeros((300, 3), np.float32)
    scores[299, 1] = bad
    targets = Histories.from_lists([[0]] * 300)

    with pytest.raises(ScoreError, match=r"scores of user 299 hold NaN or infinity: .* lower training"):
        evaluate_ranking(scores, Histories.from_lists([[]] * 300), targets, (1,))


def test_a_callable_is_asked_for_bounded_slices_and_gives_the_same_numbers():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 20)).astype(np.float32)
    seen = Histories.from_lists([rng.choice(20, 5) for _ in range(50)])
    targets = Histories.from_lists([rng.choice(20, 2) for _ in range(50)])
    asked = []

    def score(rows):
        asked.append(rows)
        return scores[rows]

    streamed = evaluate_ranking(score, seen, targets, (5,), chunk_users=16)

    assert [rows.stop - rows.start for rows in asked] == [16, 16, 16, 2]
    assert streamed.means() == evaluate_ranking(scores, seen, targets, (5,)).means()


def test_the_scores_that_were_handed_in_are_left_as_they_were():
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = scores.copy()

    evaluate_ranking(scores, Histories.from_lists([[0], [1]]), Histories.from_lists([[1], [2]]), (1,))

    np.testing.assert_array_equal(scores, before)


def test_an_item_outside_the_catalogue_is_refused():
    with pytest.raises(ValueError, match=r"item codes must be in \[0, 3\), got 3..3"):
        evaluate_ranking(np.ones((1, 3)), Histories.from_lists([[3]]), Histories.from_lists([[0]]), (1,))


@pytest.mark.parametrize("ks", [(), (0,), (5, 5)])
def test_cut_offs_are_distinct_and_positive(ks):
    with pytest.raises(ValueError, match="ks must be distinct positive cut-offs"):
        evaluate_ranking(np.ones((1, 3)), Histories.from_lists([[]]), Histories.from_lists([[0]]), ks)


def test_seen_and_targets_are_of_the_same_users():
    with pytest.raises(ValueError, match="seen has 2 users, targets have 1"):
        evaluate_ranking(np.ones((1, 3)), Histories.from_lists([[], []]), Histories.from_lists([[0]]), (1,))


def test_a_result_holds_one_value_a_user():
    with pytest.raises(ValueError, match="mrr has shape"):
        RankingResult(users=np.arange(2), values={"mrr": np.ones(3)})


def test_ranking_among_candidates_is_ranking_a_catalogue_of_these_alone(rng):
    scores = rng.integers(0, 5, size=(20, 12)).astype(np.float32)
    candidates = np.arange(12) % 3 == 0
    kept = np.flatnonzero(candidates)
    seen = Histories.from_lists(rng.integers(0, 12, size=(20, 3)).tolist())
    targets = Histories.from_lists([[int(item)] for item in rng.choice(kept, 20)])
    among = [[int(np.searchsorted(kept, item)) for item in row if candidates[item]] for row in map(list, seen)]
    alone = [[int(np.searchsorted(kept, item)) for item in row] for row in map(list, targets)]

    found = evaluate_ranking(scores, seen, targets, (1, 3), candidates=candidates)

    small = evaluate_ranking(scores[:, kept], Histories.from_lists(among), Histories.from_lists(alone), (1, 3))
    assert found.users.tolist() == small.users.tolist()
    for name, column in small.values.items():
        np.testing.assert_allclose(found.values[name], column)


def test_a_target_that_is_no_candidate_is_refused():
    asked = Histories.from_lists([[1]])
    with pytest.raises(ValueError, match="candidates"):
        evaluate_ranking(
            np.ones((1, 2), np.float32), Histories.from_lists([[]]), asked, (1,), candidates=np.arange(2) == 0
        )


def test_lists_are_the_ones_that_every_device_would_show(rng):
    scores = rng.integers(0, 4, size=(30, 12)).astype(np.float32)
    seen = [rng.choice(12, size, replace=False) for size in rng.integers(0, 12, 30)]
    targets = Histories.from_lists([[int(item)] for item in rng.integers(0, 12, 30)])

    result = evaluate_ranking(scores, Histories.from_lists(seen), targets, (1,), chunk_users=7, list_length=5)

    for user, shown in zip(result.users.tolist(), result.lists, strict=True):
        expected = top_k(scores[user], 5, seen[user]).tolist()
        assert shown.tolist() == expected + [-1] * (5 - len(expected))


def test_no_lists_are_kept_unless_they_are_asked_for():
    result = evaluate_ranking(
        np.ones((1, 3), np.float32), Histories.from_lists([[]]), Histories.from_lists([[0]]), (1,)
    )

    assert result.lists is None
