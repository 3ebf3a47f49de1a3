"""The pages that are committed are those that the committed rows give."""

from pathlib import Path

import pytest

from simulations.documents import documents

pytestmark = pytest.mark.xdist_group("measured-documents")  # all pages are drawn at once
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def written():
    return documents(DOCS / "measured")


@pytest.mark.parametrize("name", ["performance.md", "privacy-figures.md", "quality.md", "robustness.md"])
def test_a_page_is_what_its_rows_give(name, written):
    assert (DOCS / name).read_text("utf-8") == written[name], "run `make bench-pages`"
