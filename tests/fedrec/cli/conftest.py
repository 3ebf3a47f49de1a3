"""What commands that simulate do without in tests: each ends with reports."""

from collections.abc import Iterator

import pytest

from tests.quick_reports import quick_reports


@pytest.fixture(scope="module", autouse=True)
def quick_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave out of reports what has tests of its own, where reports are not the matter."""
    if request.module.__name__.rsplit(".", 1)[-1] == "test_privacy":
        yield
        return
    with quick_reports():
        yield
