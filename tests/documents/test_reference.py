"""The generated pages are as the code has it now, and links into code are on their lines."""

import sys
from pathlib import Path

import pytest
from documents.code_lines import definitions, kept_on_its_line
from documents.page_parts import Link
from documents.reference import FOLDER, on_their_lines, pages, written_by_hand
from documents.scenario_keys import without_meaning

from fedrec.config import known_keys

ROOT = Path(__file__).resolve().parent.parent.parent
STALE = "stale: run make reference"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages(ROOT)


@pytest.mark.parametrize("name", ["cli", "scenario", "file-formats", "device-proto", "python"])
def test_a_generated_page_is_as_it_would_be_written_now(name, made):
    if name == "cli" and sys.version_info[:2] != (3, 11):
        pytest.skip("click words usage a little differently elsewhere")
    page = f"{FOLDER}/{name}.md"
    assert (ROOT / page).read_text("utf-8") == made[page], STALE


def test_nothing_else_stands_among_the_generated_pages(made):
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / FOLDER).iterdir()} == set(made)


@pytest.mark.parametrize("page", written_by_hand(ROOT), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_whose_text_is_a_name_in_code_lead_to_its_lines(page):
    assert page.read_text("utf-8") == on_their_lines(page), STALE


def test_every_key_of_a_scenario_is_on_its_page_with_a_meaning(made):
    rows = {line.split("`")[1] for line in made[f"{FOLDER}/scenario.md"].splitlines() if line.startswith("| `")}
    assert {key.rsplit(".", 1)[-1] for key in known_keys()} - rows == set()
    assert without_meaning() == []


CODE = """\
import os

class Server:
    limit: int = 3

    def step(self):
        return 1

def step():
    pass
"""


def test_a_definition_is_known_by_its_name_and_by_that_within_its_class():
    found = definitions(CODE)
    assert found["Server"] == [(3, 7)]
    assert found["Server.step"] == [(6, 7)]
    assert found["step"] == [(6, 7), (9, 10)]
    assert found["Server.limit"] == [(4, 4)]


@pytest.mark.parametrize(
    ("text", "anchor", "kept"),
    [
        ("`Server.step`", "L1", "L6"),
        ("`step()`", "L9", "L9"),  # one of two definitions is as good as the other
        ("`step`", "L2", "L6"),
        ("`Server`", "L1-L2", "L3-L7"),
        ("the step", "L2", "L2"),  # no name in code: whoever wrote the number meant it
    ],
)
def test_a_link_to_a_name_is_put_on_the_line_that_defines_it(text, anchor, kept, tmp_path):
    (tmp_path / "x.py").write_text(CODE)
    link = Link(line=1, text=text, target=f"x.py#{anchor}")
    assert kept_on_its_line(link, tmp_path / "x.py") == f"x.py#{kept}"


def test_a_link_to_a_name_that_is_gone_is_refused(tmp_path):
    (tmp_path / "x.py").write_text(CODE)
    with pytest.raises(ValueError, match="does not define Client"):
        kept_on_its_line(Link(line=1, text="`Client`", target="x.py#L1"), tmp_path / "x.py")
