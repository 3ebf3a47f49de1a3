import numpy as np
import pytest

from fedrec.data.histories import Histories


@pytest.fixture
def histories():
    """Sixty users with repeated items, one of them without any event."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 25, size=rng.integers(1, 15)) for _ in range(59)]
    return Histories.from_lists([*rows, []])
