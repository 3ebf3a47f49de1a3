from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.evaluation.ties import expected_metrics, metric_names


def positions(scores, targets):
    """(above, tied) of one user's targets by counting."""
    above = [sum(s > scores[t] for s in scores) for t in targets]
    tied = [sum(s == scores[t] for s in scores) for t in targets]
    return np.array(above, np.int64), np.array(tied, np.int64)


def metrics_of_order(order, targets, ks):
    """Textbook metrics of one ranking without ties."""
    ranks = sorted(order.index(target) + 1 for target in targets)
    values = {"mrr": 1 / ranks[0], "auc": ordered_pairs(order, targets)}
    for k in ks:
        hits = [rank for rank in ranks if rank <= k]
        ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(len(targets), k) + 1))
        values[f"hr@{k}"] = float(bool(hits))
        values[f"recall@{k}"] = len(hits) / len(targets)
        values[f"precision@{k}"] = len(hits) / k
        values[f"map@{k}"] = sum(place / rank for place, rank in enumerate(hits, 1)) / len(targets)
        values[f"ndcg@{k}"] = sum(1 / np.log2(rank + 1) for rank in hits) / ideal
    return values


def ordered_pairs(order, targets):
    """Share of pairs of a target and another item that stand in this order."""
    pairs = [order.index(target) < order.index(other) for target in targets for other in set(order) - set(targets)]
    return np.mean(pairs) if pairs else 0.5


def mean_over_tie_orders(scores, targets, ks):
    """Average the textbook metrics over every ordering that sorts the scores."""
    orders = [
        order for order in permutations(range(len(scores))) if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    rows = [metrics_of_order(order, targets, ks) for order in orders]
    return {name: np.mean([row[name] for row in rows]) for name in rows[0]}


def expectation(scores, targets, ks):
    above, tied = positions(scores, targets)
    values = expected_metrics(above, tied, np.array([0, len(targets)]), ks, len(scores))
    return {name: column[0] for name, column in values.items()}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_expectation_is_the_mean_over_all_orders_of_tied_scores(data):
    scores = data.draw(st.lists(st.integers(0, 2), min_size=2, max_size=6))
    items = st.integers(0, len(scores) - 1)
    targets = data.draw(st.lists(items, min_size=1, max_size=len(scores), unique=True))
    ks = (1, 2, 3, 10)

    expected = mean_over_tie_orders(scores, targets, ks)

    assert expectation(scores, targets, ks) == pytest.approx(expected, abs=1e-12)


def test_one_relevant_item_among_a_hundred_equal_scores_is_what_mathematics_says_it_is():
    values = expectation([0.0] * 100, [37], [10])

    assert values["hr@10"] == pytest.approx(0.100)
    assert values["recall@10"] == pytest.approx(0.100)
    assert round(values["ndcg@10"], 4) == 0.0454
    assert values["mrr"] == pytest.approx(sum(1 / rank for rank in range(1, 101)) / 100)


def test_many_users_at_once_are_as_each_alone():
    users = [([3, 1, 1, 2], [1, 2]), ([0, 0, 0, 0], [0]), ([1, 2, 3, 4], [0, 3])]
    parts = [positions(scores, targets) for scores, targets in users]
    offsets = np.array([0, 2, 3, 5])

    values = expected_metrics(
        np.concatenate([above for above, _ in parts]), np.concatenate([tied for _, tied in parts]), offsets, (1, 2), 4
    )

    for user, (scores, targets) in enumerate(users):
        alone = expectation(scores, targets, (1, 2))
        assert {name: column[user] for name, column in values.items()} == pytest.approx(alone)


def test_no_users_give_every_metric_with_no_values():
    empty = np.empty(0, np.int64)

    values = expected_metrics(empty, empty, np.zeros(1, np.int64), (5, 10), 100)

    assert list(values) == metric_names((5, 10))
    assert all(len(column) == 0 for column in values.values())
