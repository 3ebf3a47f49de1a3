"""Lists against naive loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from fedrec.ranking import top_k

few_values = st.sampled_from([-1.0, 0.0, 0.5, 2.0])  # few, so that ties are common


@given(
    scores=st_numpy.arrays(np.float32, st.integers(1, 12), elements=few_values),
    k=st.integers(1, 15),
    data=st.data(),
)
def test_the_list_is_what_a_loop_that_picks_the_best_left_finds(scores, k, data):
    excluded = data.draw(st.lists(st.integers(0, len(scores) - 1)))
    left = [code for code in range(len(scores)) if code not in excluded]
    expected = []
    while left and len(expected) < k:
        best = max(left, key=lambda code: (scores[code], -code))
        expected.append(best)
        left.remove(best)

    assert top_k(scores, k, np.array(excluded, dtype=np.int32)).tolist() == expected


def test_equal_scores_are_ordered_by_code():
    scores = np.array([1, 2, 2, 1, 2], dtype=np.float32)
    assert top_k(scores, 5, np.array([], dtype=np.int32)).tolist() == [1, 2, 4, 0, 3]


@pytest.mark.parametrize("k", [0, -3])
def test_a_list_of_no_items_is_refused(k):
    with pytest.raises(ValueError, match="k must be at least 1"):
        top_k(np.zeros(3, np.float32), k, np.array([], np.int32))


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        top_k(np.array([0, np.nan], np.float32), 1, np.array([], np.int32))
