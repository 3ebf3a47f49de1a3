"""A journal in memory, for simulations: what was opened is open until it is closed by its own number."""

import numpy as np
import pytest

from fedrec.flower.journal import MemoryJournal, Opened


@pytest.mark.parametrize(("closed", "left"), [(4, None), (3, 4), (5, 4)])
def test_a_round_is_closed_by_its_own_number(closed, left):
    journal = MemoryJournal()
    told = {"run_id": "r", "attempt": 0, "terms": "t", "cohort": np.arange(2), "nonces": {"a": "0" * 32}}
    journal.open(Opened(number=4, **told))
    journal.close(closed)
    opened = journal.opened()
    assert (opened.number if opened else None) == left
    assert journal.aggregated("r", 4) is None
