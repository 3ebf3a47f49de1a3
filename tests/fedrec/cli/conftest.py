"""What commands that simulate do without in tests: each ends with a privacy report."""

from collections.abc import Iterator

import pytest

from fedrec.privacy.accounting import profile
from fedrec.privacy.accounting.accountant import LIVE_INTERVAL


@pytest.fixture(scope="module", autouse=True)
def quick_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take reported figures on the grid of ledgers, and without Opacus' accountant, where they are not the matter."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__.rsplit(".", 1)[-1] != "test_privacy":
            patch.setattr(profile, "epsilon_prv", lambda events, delta: None)
            patch.setattr(profile, "FINAL_INTERVAL", LIVE_INTERVAL)
        yield
