"""What stands beside every figure: the machine, and the memory that a process took of it."""

import os
import re

import numpy as np
import pytest
import torch

from simulations.benches.machine import Machine, peak_rss_bytes, torch_threads
from simulations.benches.racing import in_fresh_process


def test_a_machine_is_described_on_one_line():
    here = Machine.here(threads=2)
    assert here.cores == os.cpu_count()
    assert here.torch == torch.__version__
    assert re.search(
        r", \d+ cores, [\d.]+ GiB, load [\d.]+; Python 3\.\d+\.\d+, torch .+, 2 threads; \d{4}-\d\d-\d\d$", str(here)
    )


def touch(megabytes: int) -> int:
    np.ones(megabytes * 2**17).sum()
    return peak_rss_bytes()


@pytest.mark.slow
def test_peak_memory_is_of_the_process_alone_and_stays_after_memory_is_given_back():
    ballast = np.ones(600 * 2**17)  # a child must not inherit this
    small, large = in_fresh_process(touch, 1), in_fresh_process(touch, 200)
    assert ballast.sum() > 0
    assert peak_rss_bytes() > 600 * 2**20
    assert large - small > 150 * 2**20
    assert small < 600 * 2**20


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
