"""The race of folds: its replies are good ones, its sums are right, and a fold's memory does not grow."""

import pytest
import torch

from fedrec.flower.identity import task_identity
from simulations.benches.aggregation import FLOWER, OURS, SEALED, Work, _Round, memory, throughput

SMALL = Work(numbers=6400, replies=10)


def test_all_three_take_every_reply():
    found = throughput(SMALL, 1)
    assert {name: laps[0]["replies_per_second"] > 0 for name, laps in found.laps.items()} == dict.fromkeys(
        (OURS, SEALED, FLOWER), True
    )


def test_what_is_timed_is_the_real_sum():
    with task_identity(1):
        bench = _Round(SMALL, sealed=True)
        messages = list(bench.messages())
        for message in messages:
            bench.fold.take(message)
        tally = bench.fold.close()
    expected = sum(bench._tables[n % 4]["item.factors"].double() for n in range(10))
    assert tally.num_users == 10
    assert torch.allclose(tally.total["item.factors"], expected, rtol=0, atol=1e-12)


@pytest.mark.slow  # a process of its own for each cohort
@pytest.mark.fault
def test_h84_memory_is_flat_for_cohorts_of_10_100_and_1000():
    found = memory(Work())
    assert [one.cohort for one in found] == [10, 100, 1000]
    assert max(one.process_mib for one in found) <= 1.5 * min(one.process_mib for one in found)
    # a few MiB, of which the allocator's luck is a third: what counts is that it does not grow
    assert max(one.fold_mib for one in found) <= 1.5 * found[0].fold_mib
