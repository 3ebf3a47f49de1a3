"""``audit.html``: whole, on its own, honest, and saying what ``audit.json`` says."""

import html
import sys

import pytest

from fedrec.audit.findings import Level
from fedrec.audit.report.files import write_report
from fedrec.audit.report.page import pictures_of, render_audit
from fedrec.audit.report.record import AuditReport
from fedrec.audit.report.words import GLOSSARY, LEVELS, chance, levels_words, sentence, shown_below
from tests.fedrec.audit.example_reports import BOUNDS, CLAIM, PASSED, VIOLATED, WARNED, example, violated
from tests.fedrec.runs.test_report import parsed

pytestmark = pytest.mark.xdist_group("report-page")  # what is made for all is made once


@pytest.fixture(scope="module")
def page():
    return render_audit(example(), pictures_of(example()))


def test_the_page_is_well_formed_and_asks_nobody_for_anything(page):
    assert all(link.startswith("#") for link in parsed(page).links)
    for foreign in ("http:", "https:", "//", "<script", "<link", "@import", "<iframe"):
        assert foreign not in page, foreign


def test_the_claim_comes_first_then_the_verdict(page):
    places = [page.index(text) for text in (CLAIM.statement, "No violation found in", "What is claimed", "Level 1:")]
    assert places == sorted(places)


def test_a_pass_is_never_called_private_or_proven(page):
    words = html.unescape(page).lower()
    assert "that is no proof" in words
    for word in ("is private", "is proven", "guaranteed", "certified", "passes the audit"):
        assert word not in words


def test_the_page_says_everything_that_the_file_says(page):
    report = example()
    for fact in (
        *(check.asks for check in report.checks),
        *(check.found for check in report.checks),
        *(check.method for check in report.checks),
        *(bound.adversary for bound in report.bounds),
        *(attack.sees for attack in report.attacks),
        *(attack.defence for attack in report.attacks),
        *report.not_tested,
        *CLAIM.assumptions,
        *GLOSSARY.values(),
        report.repeat,
        report.head,
        str(report.seed),
    ):
        assert html.escape(fact) in page, fact


def test_every_picture_says_what_to_see(page):
    assert page.count("<figure") == page.count("<figcaption>") == 3  # bounds, burn-down, one attack
    assert "stop: the ledger refuses any further release" in page
    assert "none, the control (area 0.93)" in page


def test_without_matplotlib_the_tables_say_the_same(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fedrec.audit.report.pictures", None)
    _, path = write_report(example(), tmp_path)
    bare = path.read_text("utf-8")
    parsed(bare)
    assert "<figure" not in bare
    assert "epsilon left of 8" in bare
    assert "none (control)" in bare


def test_violations_come_first_and_name_what_was_found():
    page = render_audit(violated(), {})
    assert page.index("Violation found.") < page.index("What is violated") < page.index("What is claimed")
    assert page.index(VIOLATED.found) < page.index(CLAIM.assumptions[0])
    assert '<span class="bad">6.20</span>' in page


def test_of_a_level_violations_stand_before_warnings_and_passes():
    checks = (PASSED, WARNED, VIOLATED.model_copy(update={"level": Level.RECORD}))
    page = render_audit(example(verdict="violation found", checks=checks), {})
    level = page[page.index("Level 1:") :]
    assert level.index(VIOLATED.found) < level.index(WARNED.found) < level.index(PASSED.found)


def test_what_comes_from_outside_is_escaped():
    evil = "<script>alert(1)</script>"
    subject = example().subject.model_copy(update={"name": evil, "path": evil})
    assert "<script" not in render_audit(example(subject=subject, not_tested=(evil,), repeat=evil), {})


def test_many_bounds_are_drawn_nearest_to_their_claims_first():
    weak = [BOUNDS[2].model_copy(update={"lower": 0.01, "of": f"weak {number}"}) for number in range(40)]
    drawing = pictures_of(example(bounds=(*weak, BOUNDS[0])))["bounds"]
    assert "one release of training" in drawing
    assert drawing.count("weak ") == 15


def test_an_infinite_lower_bound_is_drawn_and_named():
    endless = BOUNDS[0].model_copy(update={"lower": None, "judged": None})
    report = violated().model_copy(update={"bounds": (endless,)})
    assert "infinite" in pictures_of(report)["bounds"]
    assert '<span class="bad">infinite</span>' in render_audit(report, {})


def test_both_files_are_written_whole_and_agree(tmp_path):
    json_path, page_path = write_report(example(), tmp_path / "new" / "audit")
    assert AuditReport.model_validate_json(json_path.read_bytes()) == example()
    assert page_path.read_text("utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in json_path.parent.iterdir()) == ["audit.html", "audit.json"]


def test_every_level_has_its_words():
    assert set(LEVELS) == set(Level)
    assert all(words.asks.endswith("?") for words in LEVELS.values())


@pytest.mark.parametrize(
    ("probability", "words"), [(0.0, "none: nothing was judged by chance"), (6.4e-5, "1 in 15,625"), (0.7, "70%")]
)
def test_a_chance_is_said_as_people_say_it(probability, words):
    assert chance(probability) == words


def test_lower_bounds_are_rounded_down_and_levels_joined():
    assert (shown_below(4.169), shown_below(None)) == ("4.16", "infinite")
    assert (levels_words([Level(1), Level(2), Level(3)]), levels_words([Level(1), Level(5)])) == ("1 to 3", "1, 5")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("seven hold.", "Seven hold."),
        ("config.toml has no hash", "config.toml has no hash."),
        ("noise_seed is set", "noise_seed is set."),
        ("", "."),
    ],
)
def test_a_sentence_begins_with_a_capital_unless_it_names_a_file_or_a_setting(text, shown):
    assert sentence(text) == shown
