import numpy as np

from fedrec.baselines import popularity
from fedrec.baselines.popularity import distinct_pairs
from fedrec.data.histories import Histories


def test_a_users_repeated_events_with_an_item_count_once():
    counts = popularity.fit(Histories.from_lists([[0, 0, 0, 2], [2], []]), 4).counts

    assert counts.tolist() == [1, 0, 2, 0]


def test_distinct_pairs_are_those_of_a_set(histories):
    items, users = distinct_pairs(histories)

    pairs = list(zip(users.tolist(), items.tolist(), strict=True))
    assert pairs == sorted({(user, item) for user in range(len(histories)) for item in histories[user].tolist()})


def test_everybody_gets_the_same_list(histories):
    scores = popularity.fit(histories, 25).score(histories)

    assert (scores == scores[0]).all()
    np.testing.assert_array_equal(scores[0], popularity.fit(histories, 25).counts)
