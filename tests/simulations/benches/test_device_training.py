"""The bench of a device's training task."""

import pytest

from simulations.benches.device_training import KINDS, Task, measure


@pytest.mark.process
@pytest.mark.slow  # two processes a kind that import everything
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_measured_in_a_process_of_its_own(kind):
    found = measure(Task(kind=kind, items=500, dim=8, events=20))
    tables = 500 * 8 * 4 * 2  # item tower and factors, float32
    assert found.peak_mib >= found.imported_mib > 100
    assert found.seconds > 0
    assert tables < found.bytes_down < 3 * tables
    assert found.bytes_up < 2 * found.bytes_down


@pytest.mark.process
@pytest.mark.slow  # a catalogue of 50,000 items
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_over_50_000_items_stays_within_512_mib(kind):
    assert measure(Task(kind=kind)).peak_mib <= 512
