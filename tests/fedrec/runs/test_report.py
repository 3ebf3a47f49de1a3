import builtins
import re
from html.parser import HTMLParser

import pytest

from fedrec.config import Scenario
from fedrec.privacy.noise.origin import FROM_SYSTEM
from fedrec.privacy.noise.source import noise_generator
from fedrec.runs.folder import RunFolder
from fedrec.runs.report import render_report, write_report

pytestmark = pytest.mark.xdist_group("report")  # what is made for all is made once

VOID = {"meta"}


class Balance(HTMLParser):
    """Fails on an element that is not closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.links = []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def page(tmp_path_factory, summary):
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / "run", Scenario())
    for number in range(4):
        folder.append_metrics(
            {
                "round": number,
                "phase": "final",
                "metrics": {"hr@10": 0.1, "ndcg@10": 0.05},
                "fusion": {"cf": 1.0},
                "bytes_down": 5,
                "bytes_up": 5,
                "epsilon": 1.0 + number,
            }
        )
    folder.write_summary(summary)
    return write_report(folder).read_text()


def test_the_page_is_well_formed(page):
    parsed(page)


def test_the_page_asks_nobody_for_anything(page):
    assert all(link.startswith("#") for link in parsed(page).links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", page))
    for foreign in ("http:", "https:", "//", "<script", "<link", "@import", "<iframe"):
        assert foreign not in page, foreign


def test_the_page_has_light_dark_and_print(page):
    for need in ("prefers-color-scheme: dark", "@media print", "color-scheme: light dark"):
        assert need in page


def test_the_privacy_statement_is_complete(page, summary):
    privacy = summary.privacy
    for fact in (privacy.unit, privacy.adjacency, privacy.adversary, *privacy.assumptions, *privacy.not_covered):
        assert fact.replace("'", "&#x27;") in page
    for figure in ("7.9800", "8.4100", "1e-05", "of a budget of 8", "RDP", "PLD"):
        assert figure in page


def test_every_scorer_is_in_the_table_with_its_interval(page):
    for label in ("popularity", "DP popularity", "EASE", "Markov", "federated, no privacy", "this run"):
        assert f'<th scope="row">{label}</th>' in page
    assert "<td>0.112<small>0.093 to 0.133</small></td>" in page


def written(summary, **change):
    sent = summary.bytes.model_copy(update=change)
    return render_report(summary.model_copy(update={"bytes": sent}), None, "")


@pytest.mark.parametrize(
    ("codec", "said"), [("none", "32 bits a number"), ("int8", "8 bits a number"), ("row-subset", "a public draw")]
)
def test_bytes_each_way_are_shown_with_the_codec(summary, codec, said):
    page = written(summary, codec=codec, down_per_client_round=1_043_000.0, up_per_client_round=278_400.0)
    assert "Codec of updates on the way up" in page
    assert said in page
    assert "<td>1.04 MB</td>" in page
    assert "<td>278 kB</td>" in page


@pytest.mark.parametrize("codec", ["none", "fp16", "int8", "low-rank", "row-subset"])
@pytest.mark.parametrize("private", [True, False])
def test_under_privacy_a_codec_that_rounds_is_said_to_spare_sums_of_several(summary, codec, private):
    open_run = summary if private else summary.model_copy(update={"privacy": None})
    assert ("sends the sum of what they decode to" in written(open_run, codec=codec)) == (
        private and codec in ("fp16", "int8")
    )


def test_the_cost_of_privacy_is_said(page):
    assert "this run keeps 72% of NDCG@10" in page


def test_fingerprint_notes_and_settings_are_in_the_page(page, summary):
    assert summary.protocol.fingerprint in page
    assert summary.notes[0] in page
    assert "schedule_rounds = 0" in page


def test_every_picture_says_what_to_see(page):
    figures = re.findall(r'<figure role="img" aria-label="([^"]+)">', page)

    assert len(figures) == page.count("<figcaption>") == 5


def test_what_comes_from_outside_is_escaped(summary):
    evil = "<script>alert(1)</script>"
    protocol = summary.protocol.model_copy(update={"source": evil, "split": evil})
    changed = {"name": evil, "notes": (evil,), "fusion": {evil: 1.0}, "floors": {evil: {"hr@10": 0.1}}}

    page = render_report(summary.model_copy(update={**changed, "protocol": protocol}), {}, config=evil)

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_a_run_without_privacy_says_that_it_claims_nothing(summary):
    page = render_report(summary.model_copy(update={"privacy": None, "non_private": None}), {}, config="")

    parsed(page)
    assert "No claim: user-level privacy was off" in page
    assert "differentially private" not in page


def test_noise_from_a_seed_is_said_to_void_the_claim_against_who_knows_it(summary):
    seeded = summary.privacy.model_copy(update={"noise_source": "seeded: 7"})

    page = render_report(summary.model_copy(update={"privacy": seeded}), {}, config="")

    assert "Noise was drawn from a number (seeded: 7): whoever knows it can subtract the noise" in page
    assert "whoever knows the seed" not in render_report(summary, {}, config="")


def test_noise_from_the_operating_system_goes_by_the_name_that_the_report_knows():
    assert noise_generator(None).description == FROM_SYSTEM


def test_recall_is_shown_where_it_differs_from_hits(summary):
    def shown(recall):
        metrics = {**summary.metrics, "recall@10": recall}
        return "Recall@10" in render_report(summary.model_copy(update={"metrics": metrics}), {}, config="")

    assert shown(0.05)
    assert not shown(summary.metrics["hr@10"])


def test_the_paper_protocol_is_shown_apart_and_labelled(summary):
    sampled = {"sampled:99": {"hr@10": 0.64, "ndcg@10": 0.38}}

    page = render_report(summary.model_copy(update={"sampled": sampled}), {}, config="")

    assert '<th scope="row">sampled:99</th>' in page
    assert "For comparison with papers only" in page


def test_without_matplotlib_the_report_has_its_tables_and_says_how_to_get_pictures(folder, summary, monkeypatch):
    real_import = builtins.__import__

    def no_matplotlib(name, *arguments, **more):
        if name == "fedrec.runs.pictures":
            raise ImportError(name)
        return real_import(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    folder.write_summary(summary)

    page = write_report(folder).read_text()

    assert "pip install &#x27;fedrec[sim]&#x27;" in page
    assert '<th scope="row">EASE</th>' in page
    assert "<figure" not in page
