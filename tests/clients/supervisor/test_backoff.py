from hypothesis import given
from hypothesis import strategies as st

from clients.supervisor.backoff import PERMANENT, QUICK, TRANSIENT, BackOff, Failure


def waits(failure: Failure, times: int, draw=lambda low, high: 1.0) -> list[float]:
    backoff = BackOff(draw)
    return [backoff.failed(failure) for _ in range(times)]


def test_after_three_quick_tries_a_transient_failure_is_waited_out_for_a_quarter_of_an_hour():
    assert waits(Failure.TRANSIENT, 5) == [QUICK] * 3 + [TRANSIENT] * 2


def test_what_waiting_does_not_mend_is_tried_again_in_four_hours_from_the_first_time_on():
    assert waits(Failure.PERMANENT, 2) == [PERMANENT] * 2


def test_b26_a_rejected_key_is_tried_less_than_six_times_an_hour_and_in_the_end_every_four_hours():
    """Case B26."""
    least = waits(Failure.REJECTED, 6, draw=lambda low, high: low)
    starts = [sum(least[:number]) for number in range(6)]
    assert sum(start < 3600 for start in starts) <= 6
    assert least[-1] == 0.8 * PERMANENT


def test_a_success_makes_the_next_failure_the_first():
    backoff = BackOff(lambda low, high: 1.0)
    for _ in range(10):
        backoff.failed(Failure.TRANSIENT)
    backoff.succeeded()
    assert backoff.failed(Failure.TRANSIENT) == QUICK


@given(st.lists(st.sampled_from(Failure), min_size=1, max_size=30), st.floats(0, 1))
def test_devices_never_wait_more_than_a_fifth_from_the_time_of_their_class(failures, share):
    backoff = BackOff(lambda low, high: low + share * (high - low))
    for failure in failures:
        wait = backoff.failed(failure)
        assert any(0.8 * base <= wait <= 1.2 * base for base in (QUICK, TRANSIENT, PERMANENT))
