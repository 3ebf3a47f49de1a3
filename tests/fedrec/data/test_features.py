import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.features import (
    MAX_TOKENS,
    MAX_VALUES,
    Features,
    are_years,
    multi_hot,
    one_hot,
    standardised,
    year_bucket,
)

WORDS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=4), min_size=1)


@given(WORDS)
def test_multi_hot_marks_exactly_the_tokens_of_an_item(rows):
    features = multi_hot("genre", rows)
    named = [
        {name.removeprefix("genre=") for name, on in zip(features.names, row, strict=True) if on}
        for row in features.values
    ]
    assert named == [set(row) for row in rows]
    assert list(features.names) == sorted(features.names)
    assert set(np.unique(features.values)) <= {0.0, 1.0}


def test_running_text_keeps_its_most_frequent_tokens():
    rows = [[f"w{word}" for word in range(MAX_TOKENS + 5)], [f"w{word}" for word in range(5, MAX_TOKENS + 5)]]
    kept = {name.removeprefix("text=") for name in multi_hot("text", rows).names}
    assert len(kept) == MAX_TOKENS
    assert {"w0", "w1", "w2", "w3", "w4"}.isdisjoint(kept)


def test_a_blank_token_is_all_zeros():
    features = one_hot("colour", ["red", "", "blue"])
    assert features.names == ("colour=blue", "colour=red")
    assert features.values.tolist() == [[0, 1], [0, 0], [1, 0]]


def test_a_column_that_names_items_is_no_feature():
    values = [f"director {number}" for number in range(MAX_VALUES + 1)]
    assert one_hot("director", values).values.shape == (MAX_VALUES + 1, 0)
    assert one_hot("director", values[1:]).values.shape == (MAX_VALUES, MAX_VALUES)


def test_years_fall_into_buckets():
    features = one_hot("year", ["1992", "1997", "1998", ""])
    assert features.names == ("year=1992-1997", "year=1998-2003")
    assert features.values.tolist() == [[1, 0], [1, 0], [0, 1], [0, 0]]


@given(st.integers(1800, 2099))
def test_a_year_is_in_its_bucket(year):
    first, last = map(int, year_bucket(str(year)).split("-"))
    assert first <= year <= last == first + 5


@pytest.mark.parametrize(
    ("values", "years"),
    [(["1995"] * 19 + ["V"], True), (["1995"] * 9 + ["V"], False), (["1995", ""], True), ([""], False), (["3"], False)],
)
def test_years_are_told_from_other_tokens_with_little_forgiveness(values, years):
    assert are_years(values) is years


@given(st.lists(st.floats(-1e6, 1e6), min_size=2))
def test_numbers_get_mean_0_and_deviation_1(numbers):
    values = standardised("price", np.array(numbers)).values.astype(np.float64)
    assert values.mean() == pytest.approx(0, abs=1e-4)
    assert values.std() == pytest.approx(1, abs=1e-3) or np.std(numbers) <= 1e-3


def test_a_missing_number_is_the_mean_and_flagged():
    features = standardised("price", np.array([1.0, np.nan, 3.0]))
    assert features.names == ("price", "price is missing")
    assert features.values.tolist() == [[-1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("numbers", [[0.1, 0.1, 0.1], [np.nan, np.nan], [0.0, 0.0]])
def test_numbers_without_spread_are_zero(numbers):
    assert standardised("price", np.array(numbers)).values[:, 0].tolist() == [0] * len(numbers)


def test_features_are_set_side_by_side():
    both = Features.joined([one_hot("a", ["x", "y"]), standardised("b", np.array([0.0, 2.0]))], 2)
    assert both.names == ("a=x", "a=y", "b")
    assert both.values.tolist() == [[1, 0, -1], [0, 1, 1]]
    assert Features.joined([], 3).values.shape == (3, 0)
