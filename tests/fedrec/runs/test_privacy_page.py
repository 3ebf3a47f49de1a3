"""``privacy.html``: whole, on its own, readable, and saying what ``privacy.json`` says."""

import shutil
import subprocess

import pytest

from fedrec.privacy.guarantee import INTERACTION_LEVEL
from fedrec.runs.privacy_page import pictures_of, render_privacy
from fedrec.runs.privacy_report import report_of_ledger
from tests.fedrec.runs.privacy_ledgers import charged
from tests.fedrec.runs.test_report import parsed

pytestmark = pytest.mark.xdist_group("privacy-page")  # what is made for all is made once

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two claims on one ledger."""
    ledger = charged(tmp_path_factory.mktemp("ledgers") / "ledger.jsonl", rounds=2)
    charged(ledger.path, rounds=2, guarantee=INTERACTION_LEVEL)
    return report_of_ledger(ledger.path)


@pytest.fixture(scope="module")
def page(report):
    return render_privacy(report, pictures_of(report))


def test_the_page_is_well_formed_and_asks_nobody_for_anything(page):
    assert all(link.startswith("#") for link in parsed(page).links)
    for foreign in ("http:", "https:", "//", "<script", "<link", "@import", "<iframe"):
        assert foreign not in page, foreign
    for need in ("prefers-color-scheme: dark", "@media print", "color-scheme: light dark"):
        assert need in page


def test_the_sentence_for_everybody_comes_first(page, report):
    body = page[page.index("<main>") :]
    assert report.sentence in body
    assert body.index(report.sentence) < body.index("epsilon")


def test_the_page_says_everything_that_the_file_says(page, report):
    for fact in (
        *report.unprotected,
        *report.public,
        *report.gaps,
        *(one.by for one in report.observers),
        *(thing for one in report.observers for thing in one.sees),
        *(claim.statement for claim in report.claims),
        *(assumption for claim in report.claims for assumption in claim.assumptions),
        *(row.answer for row in report.standards),
        report.tuning,
        report.metrics_policy,
        report.ledger.head,
    ):
        assert fact.replace("'", "&#x27;").replace(">", "&gt;") in page, fact


def test_every_picture_says_what_to_see(page):
    assert page.count("<figure") == page.count("<figcaption>") == 4  # burn-down and profile of each claim
    assert page.count("stop: the ledger refuses any further release") == 2


def test_without_pictures_the_tables_say_the_same(report):
    bare = render_privacy(report, {})
    parsed(bare)
    assert "<figure" not in bare
    assert "at delta 1e-09" in bare


def test_what_comes_from_outside_is_escaped(report):
    evil = "<script>alert(1)</script>"
    page = render_privacy(report.model_copy(update={"name": evil, "warnings": (evil,)}), {})
    assert "<script" not in page


def test_infinity_and_warnings_stand_out(report):
    claim = report.claims[0].model_copy(update={"epsilon": None})
    page = render_privacy(report.model_copy(update={"claims": (claim,), "warnings": ("Mind this.",)}), {})
    assert "<dd>infinite<small>" in page
    assert '<p class="warning">Mind this.</p>' in page


@pytest.mark.slow  # a browser takes seconds to start
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page_without_a_sideways_scroll_on_a_phone(page, tmp_path):
    script = (
        "<script>document.title = [document.documentElement.scrollWidth <= innerWidth + 1, "
        "document.querySelectorAll('svg').length].join(' ')</script></body>"
    )
    path = tmp_path / "privacy.html"
    path.write_text(page.replace("</body>", script))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900", "--dump-dom"]
    shown = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    assert "<title>true 4</title>" in shown.stdout
