"""Each signal that the generator promises, by the simplest statistic that shows it."""

import numpy as np
import pytest

from fedrec.data import synthetic
from fedrec.data.inspection import gini, inspect_log
from fedrec.data.items import build_catalogue
from fedrec.data.synthetic import synthetic_population


@pytest.fixture(scope="module")
def population():
    return synthetic_population(num_users=500, num_items=300, seed=3)


@pytest.fixture(scope="module")
def asked(population):
    """Return seen matrix [users, items], last seen item and target of users with three events."""
    log, _ = population
    histories = [history for history in map(log.histories().__getitem__, range(log.num_users)) if len(history) >= 3]
    seen = np.zeros((len(histories), log.num_items))
    for row, history in enumerate(histories):
        seen[row, history[:-1]] = 1
    return seen, [history[:-1] for history in histories], np.array([history[-1] for history in histories])


def hit_rate(scores, seen, targets, k=10):
    scores = np.where(seen > 0, -np.inf, scores)
    wanted = scores[np.arange(len(targets)), targets][:, None]
    better, equal = (scores > wanted).sum(1), (scores == wanted).sum(1)
    return float(np.clip((k - better) / equal, 0, 1).mean())


def popularity_scores(seen):
    return np.broadcast_to(seen.sum(0), seen.shape)


def test_the_same_seed_gives_the_same_population_and_another_does_not():
    first, second, other = (synthetic_population(num_users=20, num_items=30, seed=seed) for seed in (1, 1, 2))
    assert first[0].digest == second[0].digest != other[0].digest
    assert first[1].titles == second[1].titles
    assert first[1].token == second[1].token


@pytest.mark.parametrize(
    ("users", "items", "seed", "digest"),
    [
        (20, 30, 1, "ec5ed2cf8d76b5831c7c82aa8b210c3a404f60abf35578a46e84a9a48fc44942"),
        (2000, 100, 7, "5df01cacb56017cdf092b9c791f134d00b1f66f544f7c3ad09cdeb3067ea3a40"),
    ],
)
def test_a_population_is_the_same_bytes_across_releases(users, items, seed, digest):
    assert synthetic_population(num_users=users, num_items=items, seed=seed)[0].digest == digest


def test_a_population_of_several_blocks_is_one_population(monkeypatch):
    monkeypatch.setattr(synthetic, "BLOCK_USERS", 40)
    log, table = synthetic_population(num_users=100, num_items=50, seed=5)
    facts = inspect_log(log)
    assert (log.num_users, facts.repeats, facts.duplicates, facts.tied_neighbours) == (100, 0, 0, 0)
    assert np.bincount(log.users, minlength=100).min() >= 2
    assert np.all(np.diff(log.timestamps) >= 0)
    histories = log.histories()
    assert len({tuple(histories[user][:5]) for user in range(100)}) > 90, "blocks repeat each other"
    assert synthetic_population(num_users=100, num_items=50, seed=5)[0].digest == log.digest
    assert len(table.item_ids) == 50


def test_sizes_are_as_asked_for_and_events_are_plausible(population):
    log, table = population
    facts = inspect_log(log)
    assert (log.num_users, log.num_items, table.num_items) == (500, 300, 300)
    assert log.item_ids == table.item_ids
    assert facts.events_a_user[0] >= 2
    assert 15 <= facts.events_a_user[2] <= 30
    assert (facts.duplicates, facts.repeats, facts.tied_neighbours) == (0, 0, 0)


@pytest.mark.parametrize(("users", "items"), [(1, 2), (3, 3), (1, 500), (200, 5)])
def test_extreme_sizes_work(users, items):
    log, table = synthetic_population(num_users=users, num_items=items, seed=0)
    assert np.bincount(log.users, minlength=users).min() >= 2
    assert build_catalogue(log.item_ids, table).num_items == items


def test_popularity_is_skewed_and_item_ids_do_not_tell_it(population):
    counts = np.bincount(population[0].items, minlength=300)
    assert gini(counts) > 0.35
    top = np.sort(counts)[::-1]
    assert top[:30].sum() > 0.25 * top.sum()
    assert abs(np.corrcoef(np.arange(300), counts)[0, 1]) < 0.2


def test_rows_are_in_order_of_time(population):
    assert np.all(np.diff(population[0].timestamps) >= 0)


def test_neighbours_carry_signal_beyond_popularity(asked):
    seen, _, targets = asked
    gram = seen.T @ seen
    inverse = np.linalg.inv(gram + 100 * np.eye(len(gram)))  # EASE, Steck 2019
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    assert hit_rate(seen @ weights, seen, targets) > 1.4 * hit_rate(popularity_scores(seen), seen, targets)


def test_order_carries_signal_beyond_popularity(asked):
    seen, histories, targets = asked
    follows = np.zeros((seen.shape[1], seen.shape[1]))
    for history in histories:
        np.add.at(follows, (history[:-1], history[1:]), 1)
    last = np.array([history[-1] for history in histories])
    scores = follows[last] + seen.sum(0) / (seen.sum() + 1)
    assert hit_rate(scores, seen, targets) > 1.15 * hit_rate(popularity_scores(seen), seen, targets)


def test_genres_and_years_carry_taste(population, asked):
    seen, _, targets = asked
    log, table = population
    content = build_catalogue(log.item_ids, table).features
    profile = (seen @ content) / np.linalg.norm(seen @ content, axis=1, keepdims=True)
    scores = profile @ (content / np.linalg.norm(content, axis=1, keepdims=True)).T
    unseen = seen.shape[1] - seen.sum(1)
    assert hit_rate(scores, seen, targets) > 2 * (10 / unseen).mean()
