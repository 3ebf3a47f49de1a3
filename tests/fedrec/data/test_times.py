from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.text_files import Where
from fedrec.data.times import parse_times, to_seconds
from fedrec.errors import DataError

INSTANTS = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def where(count):
    return Where(path=Path("x.csv"), numbers=range(2, count + 2))


@given(st.lists(INSTANTS, min_size=1))
def test_iso_dates_are_seconds_since_1970(instants):
    times = parse_times([instant.isoformat() for instant in instants], where(len(instants)))
    assert times.dated
    assert times.values.tolist() == [instant.timestamp() for instant in instants]


@given(INSTANTS)
def test_naive_dates_are_utc_whatever_the_machine_says(instant):
    naive = instant.replace(tzinfo=None).isoformat()
    assert parse_times([naive], where(1)).values[0] == instant.timestamp()


def test_offsets_and_z_are_honoured():
    east = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=8)))
    times = parse_times([east.isoformat(), "2024-05-01T04:00:00Z", "2024-05-01 04:00"], where(3))
    assert set(times.values.tolist()) == {east.timestamp()}


@given(st.lists(INSTANTS, min_size=1), st.sampled_from([1, 1_000, 1_000_000]))
def test_whole_numbers_of_any_unit_are_the_same_times(instants, unit):
    seconds = np.array([int(instant.timestamp()) for instant in instants], dtype=np.float64)
    np.testing.assert_allclose(to_seconds(seconds * unit, "x.csv"), seconds, rtol=1e-12)


def test_mixed_units_are_refused():
    with pytest.raises(DataError, match=r"x\.csv: times .* mix units"):
        to_seconds(np.array([1.6e9, 1.6e12]), "x.csv")


def test_a_time_that_is_no_number_is_refused_with_its_line():
    with pytest.raises(DataError, match=r"x\.csv, line 3: time 'yesterday' is not a finite number"):
        parse_times(["881250949", "yesterday"], where(2))


@pytest.mark.parametrize("text", ["nan", "inf", ""])
def test_a_time_that_is_not_finite_is_refused(text):
    with pytest.raises(DataError, match="line 3"):
        parse_times(["1", text], where(2))


def test_a_date_that_is_none_is_refused_with_its_line():
    with pytest.raises(DataError, match=r"line 3: time '2024-13-01' is neither a number nor an ISO date"):
        parse_times(["2024-12-01", "2024-13-01"], where(2))
