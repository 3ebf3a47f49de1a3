"""What simulations do without in tests, where many runs end with reports."""

from collections.abc import Iterator

import pytest

from tests.quick_reports import quick_reports


@pytest.fixture(scope="module", autouse=True)
def quick_figures() -> Iterator[None]:
    """Leave out of reports what has tests of its own."""
    with quick_reports():
        yield
