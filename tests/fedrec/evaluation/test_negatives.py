"""Negatives of the sampled protocol: distinct, and never an item that the user has taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.errors import DataError
from fedrec.evaluation.negatives import distinct_negatives


@given(st.sets(st.integers(0, 19), max_size=15), st.integers(1, 5), st.integers(0, 2**32))
def test_distinct_draws_repeat_nothing(taken, count, seed):
    drawn = distinct_negatives(np.array(sorted(taken), np.int32), 20, count, np.random.default_rng(seed))

    assert drawn.dtype == np.int32
    assert len(set(drawn.tolist()) - taken) == count
    assert set(drawn.tolist()) <= set(range(20))


def test_every_item_outside_the_taken_ones_is_drawn_equally_often():
    rng, taken = np.random.default_rng(0), np.array([0, 3, 3, 9], np.int32)

    counts = np.bincount(np.concatenate([distinct_negatives(taken, 10, 3, rng) for _ in range(3000)]), minlength=10)

    assert counts[[0, 3, 9]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(np.delete(counts, [0, 3, 9]), 9000 / 7, rtol=0.1)


def test_a_user_who_took_everything_has_no_negatives():
    with pytest.raises(DataError, match="a user has 0 of 3 items left to draw 1 negatives from: ask for fewer"):
        distinct_negatives(np.arange(3, dtype=np.int32), 3, 1, np.random.default_rng(0))
