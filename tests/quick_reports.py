"""What runs do without in tests that are not about their reports, which take longer than a small run."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedrec.privacy.accounting import profile
from fedrec.privacy.accounting.accountant import LIVE_INTERVAL
from fedrec.runs import pictures


@contextmanager
def quick_reports() -> Iterator[None]:
    """Take reported figures on the grid of ledgers, without Opacus' accountant, and make pictures but not their SVG.

    All three have tests of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "epsilon_prv", lambda events, delta: None)
        patch.setattr(profile, "FINAL_INTERVAL", LIVE_INTERVAL)
        patch.setattr(pictures, "_svg", lambda figure, name: "<svg></svg>")
        yield
