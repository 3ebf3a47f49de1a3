import numpy as np
import pytest

from fedrec.data.histories import Histories
from fedrec.data.splits import Split
from fedrec.evaluation.metrics import evaluate_ranking
from fedrec.evaluation.new_users import ALL_EVENTS, evaluate_new_users, last_events

KS = (1, 3)


@pytest.fixture
def split(rng):
    rows = [rng.choice(12, size, replace=False).tolist() for size in rng.integers(2, 9, 30)]
    return Split(
        train=Histories.from_lists([row[:-1] for row in rows]),
        targets=Histories.from_lists([row[-1:] for row in rows]),
        fingerprint="x",
    )


@pytest.fixture
def score(rng):
    """Score items by their distance to what is known of the user."""
    near = rng.random((12, 12)).astype(np.float32)

    def score(known):
        return np.stack([near[known[user]].sum(axis=0) for user in range(len(known))])

    return score


def test_the_last_events_are_kept_with_their_ratings_and_times():
    known = [[1.0, 2.0, 3.0], [], [4.0]]
    histories = Histories.from_lists([[1, 2, 3], [], [4]], known, known)

    kept = last_events(histories, 2)

    assert [kept[user].tolist() for user in range(3)] == [[2, 3], [], [4]]
    assert kept.ratings.tolist() == kept.times.tolist() == [2.0, 3.0, 4.0]


def test_with_all_events_a_new_user_is_scored_as_a_known_one(split, score):
    found = evaluate_new_users(score, split, (1, 3), KS, chunk_users=7)[ALL_EVENTS]

    expected = evaluate_ranking(score(split.train), split.train, split.targets, KS)
    assert found.result.means() == pytest.approx(expected.means())
    assert found.strict.means() == pytest.approx(expected.means())
    assert found.result.users.tolist() == expected.users.tolist()


def test_the_score_sees_the_last_events_and_ranks_among_everybody_s_candidates(split, score):
    known = last_events(split.train, 2)

    found = evaluate_new_users(score, split, (2,), KS)["2"]

    assert found.result.means() == evaluate_ranking(score(known), split.train, split.targets, KS).means()
    assert found.strict.means() == evaluate_ranking(score(known), known, split.targets, KS).means()


def test_leaving_out_more_items_never_lowers_a_user_s_rank(split, score):
    found = evaluate_new_users(score, split, (1,), KS)["1"]

    assert bool(np.all(found.result.values["mrr"] >= found.strict.values["mrr"] - 1e-12))


def test_no_events_are_no_history():
    with pytest.raises(ValueError, match="count must be at least 1"):
        last_events(Histories.from_lists([[1]]), 0)
