"""A drawn trace has nights, a written one is read again, and what is no trace is named by its line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.errors import DataError
from simulations.churn.traces import DAY, HOUR, Days, diurnal_trace, read_trace
from tests.simulations.churn.written_trace import write_trace


def test_a_drawn_trace_has_its_evenings_and_a_seed_repeats_it():
    trace, again = diurnal_trace(2000, 5, 1), diurnal_trace(2000, 5, 1)
    assert np.array_equal(trace.start, again.start)
    by_hour = np.histogram(trace.start[trace.start >= 0] % DAY // HOUR, bins=24, range=(0, 24))[0]
    assert by_hour.argmax() == 22
    assert by_hour[22] > 5 * by_hour[12]


def test_stretches_of_a_device_do_not_touch():
    trace = diurnal_trace(500, 6, 2, Days(charges=8.0))
    same = trace.device[1:] == trace.device[:-1]
    assert (trace.start[1:][same] > trace.end[:-1][same]).all()
    assert (trace.end > trace.start).all()


def test_a_written_trace_is_read_again(tmp_path):
    trace = diurnal_trace(30, 3, 4)
    write_trace(trace, tmp_path / "trace.csv")
    found = read_trace(tmp_path / "trace.csv")
    assert np.array_equal(found.start, trace.start)
    assert np.array_equal(found.end, trace.end)
    assert [found.names[device] for device in found.device] == [trace.names[device] for device in trace.device]


stretches = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=25)


@given(stretches=stretches)
@settings(max_examples=50, deadline=None)
def test_a_device_is_on_wherever_one_of_its_lines_says_so(tmp_path_factory, stretches):
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    path.write_text("device,start,end\n" + "".join(f"{name},{at},{at + more}\n" for name, at, more in stretches))
    trace = read_trace(path)
    for number, name in enumerate(trace.names):
        start, end = trace.of(number)
        for now in range(75):
            on = any(one == name and at <= now < at + more for one, at, more in stretches)
            assert bool(((start <= now) & (now < end)).any()) == on


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,5,5", "start=5 must lie before end=5"),
        ("a,nan,5", "must lie before"),
        ("a,1", "two times in seconds"),
        ("a,1,x", "two times in seconds"),
        (",1,2", "a name of up to 200 signs"),
        ("a,1,2,3", "a name of up to 200 signs"),
    ],
)
def test_a_line_that_is_no_stretch_is_named(tmp_path, line, said):
    path = tmp_path / "trace.csv"
    path.write_text(f"device,start,end\nb,1,2\n{line}\n")
    with pytest.raises(DataError, match=rf"line 3: .*{said}"):
        read_trace(path)


def test_a_file_without_the_header_is_refused(tmp_path):
    (tmp_path / "trace.csv").write_text("a,1,2\n")
    with pytest.raises(DataError, match="must begin with the line device,start,end"):
        read_trace(tmp_path / "trace.csv")
