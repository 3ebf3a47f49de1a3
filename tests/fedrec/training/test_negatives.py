"""Negatives: never a user's own item, uniform over the rest, each user's by itself."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.training.negatives import NONE, draw_negatives
from fedrec.training.randomness import user_seeds

ITEMS = 10
LISTS = [[0, 3, 3, 7], [], list(range(ITEMS)), [9, 0], [5] * 20, [1, 2, 3, 4, 5, 6, 7, 8, 9]]
HISTORIES = Histories.from_lists(LISTS)
SEEDS = user_seeds([f"user {n}" for n in range(len(LISTS))], 0)

CHI_SQUARE_999 = {6: 22.46, 7: 24.32, 8: 26.12, 9: 27.88}
"""What chi-square passes with probability 0.001, by degrees of freedom."""


@given(
    lists=st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=25), max_size=6),
    round=st.integers(0, 1000),
    step=st.integers(0, 1_000_010),
    count=st.integers(1, 30),
)
def test_no_user_draws_an_item_that_it_has_met(lists: list[list[int]], round: int, step: int, count: int) -> None:
    drawn, met = draw_negatives(
        Histories.from_lists(lists), user_seeds(list(map(str, range(len(lists)))), 0), (round, step), count, ITEMS
    )
    assert drawn.shape == (len(lists), count)
    assert drawn.dtype == np.int64
    for own, row, distinct in zip(map(set, lists), drawn, met, strict=True):
        assert distinct == len(own)
        assert set(row.tolist()) <= (set(range(ITEMS)) - own or {NONE})


def test_items_not_met_are_drawn_uniformly() -> None:
    count = 20_000
    drawn, _ = draw_negatives(HISTORIES, SEEDS, (1, 0), count, ITEMS)
    for own, row in zip(map(set, LISTS), drawn, strict=True):
        free = sorted(set(range(ITEMS)) - own)
        if len(free) < 2:
            continue
        expected = count / len(free)
        seen = np.bincount(row, minlength=ITEMS)[free]
        assert ((seen - expected) ** 2 / expected).sum() < CHI_SQUARE_999[len(free) - 1]


def test_steps_draw_apart() -> None:
    count = 20_000
    first, _ = draw_negatives(HISTORIES, SEEDS, (1, 0), count, ITEMS)
    second, _ = draw_negatives(HISTORIES, SEEDS, (1, 1), count, ITEMS)
    # Two independent draws from n items agree with probability 1/n: here 7 for user 0 and 8 for user 3.
    for user, free in ((0, 7), (3, 8)):
        agreeing = float((first[user] == second[user]).mean())
        assert abs(agreeing - 1 / free) < 4 * (1 / free / count) ** 0.5


def test_what_a_user_draws_does_not_depend_on_who_else_is_in_the_call() -> None:
    together, _ = draw_negatives(HISTORIES, SEEDS, (4, 2), 50, ITEMS)
    for user in range(len(LISTS)):
        only = np.array([user])
        alone, _ = draw_negatives(HISTORIES.take(only), SEEDS[only], (4, 2), 50, ITEMS)
        np.testing.assert_array_equal(alone[0], together[user])


def test_a_user_who_has_met_every_item_draws_none() -> None:
    drawn, met = draw_negatives(HISTORIES, SEEDS, (1, 0), 5, ITEMS)
    assert drawn[2].tolist() == [NONE] * 5
    assert met.tolist() == [3, 0, 10, 2, 1, 9]


def test_one_item_left_is_drawn_every_time() -> None:
    drawn, _ = draw_negatives(HISTORIES, SEEDS, (1, 0), 5, ITEMS)
    assert drawn[5].tolist() == [0] * 5
