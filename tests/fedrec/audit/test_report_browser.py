"""``audit.html`` in a real browser, at the width of a desk and of a phone."""

from io import BytesIO

import pytest

from fedrec.audit.report.files import write_report
from tests.browser import CHROMIUM, browser
from tests.fedrec.audit.example_reports import example, violated

pytestmark = [
    pytest.mark.xdist_group("report-browser"),
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]

HEADINGS = [
    "What is claimed",
    "What was tried",
    "How much could be learnt, and how much is claimed",
    "What was spent of the budget",
    "What attackers learn",
    "What was not tested",
    "How to repeat it",
    "The words",
]
_VISIBLE = "[...document.querySelectorAll('h2')].filter(h => h.checkVisibility()).map(h => h.textContent)"
_WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module")
def new_page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as new:
        yield new


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of an audit that found nothing, and of one that found the noise too small."""
    folder = tmp_path_factory.mktemp("reports")
    return {
        name: write_report(report, folder / name)[1]
        for name, report in (("passed", example()), ("violated", violated()))
    }


@pytest.mark.parametrize(("name", "width"), [("passed", 1280), ("passed", 390), ("violated", 390)])
def test_a_browser_shows_the_whole_page_and_has_nothing_to_complain_of(new_page, pages, name, width):
    page = new_page()
    page.open(pages[name], width=width)
    scroll, client = page.value_of(_WIDTHS)
    assert (page.complaints, page.requests) == ([], [])
    assert page.value_of(_VISIBLE) == [*(["What is violated"] if name == "violated" else []), *HEADINGS]
    assert scroll <= client
    assert page.value_of("document.querySelectorAll('figure svg').length") == 3
    assert len(colours(page.screenshot())) > 50


def test_the_browser_notices_requests_complaints_overflow_and_nothing_to_see(new_page, tmp_path):
    """A bad page would fail the test above."""
    path = tmp_path / "bad.html"
    meta = "<meta name='viewport' content='width=device-width'>"
    script = "<script>console.error('no'); fetch('file:///nowhere.json')</script>"
    path.write_text(f"<!doctype html>{meta}<body><div style='width:3000px;height:9px'></div>{script}")
    page = new_page()
    page.open(path, width=390)
    scroll, client = page.value_of(_WIDTHS)
    assert page.requests == ["file:///nowhere.json"]
    assert any('"no"' in complaint for complaint in page.complaints)
    assert scroll > client
    assert len(colours(page.screenshot())) < 50


def colours(png):
    """Return the colours of a screenshot."""
    # pillow comes with matplotlib, in the extra that the test suite has
    from PIL import Image

    found = Image.open(BytesIO(png)).convert("RGB").getcolors(maxcolors=1 << 24)
    return {colour for _, colour in found}
