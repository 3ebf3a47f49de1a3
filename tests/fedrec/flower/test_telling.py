"""Telling: a record without room for it ends no round, and only a full disk is waited for."""

import errno
import logging

import pytest

from fedrec.errors import LedgerError
from fedrec.flower.clock import Clock
from fedrec.flower.events import What
from fedrec.flower.telling import FIRST_PAUSE, LONGEST_PAUSE, Teller, no_room

FULL = OSError(errno.ENOSPC, "No space left on device")


class Naps:
    def __init__(self):
        self.taken = []
        self.told = []

    def teller(self, listener=None):
        clock = Clock(now=lambda: 5.0, sleep=self.taken.append)
        return Teller("run-1", listener or self.told.append, clock)


def failing(*errors):
    """Raise these in turn, then return ``done``."""
    rest = list(errors)

    def act():
        if rest:
            raise rest.pop(0)
        return "done"

    return act


def test_a_listener_without_room_misses_an_event_and_the_log_says_so(caplog):
    def full(event):
        raise FULL

    with caplog.at_level(logging.WARNING):
        Naps().teller(full).tell(What.RUN_BEGAN, 3)
    assert "of round 3 is not written down" in caplog.text


@pytest.mark.fault
def test_a_full_disk_is_waited_for_with_longer_and_longer_pauses_and_one_alarm():
    naps = Naps()
    assert naps.teller().when_there_is_room(4, failing(*[FULL] * 9)) == "done"
    assert naps.taken == [min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(9)]
    assert [event.what for event in naps.told] == [What.ALARM, What.RUN_PAUSED]


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), LedgerError("the chain is cut")])
def test_another_error_is_not_waited_for(error):
    naps = Naps()
    with pytest.raises(type(error)):
        naps.teller().when_there_is_room(4, failing(error))
    assert (naps.taken, naps.told) == ([], [])


def test_a_ledger_that_could_not_be_written_for_want_of_room_says_so():
    error = LedgerError("cannot write")
    error.__cause__ = FULL
    assert no_room(error) == "cannot write"
    assert no_room(LedgerError("cut")) is None
