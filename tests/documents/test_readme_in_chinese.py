"""The first page in Chinese says what the English one says: same blocks, links and names, in the same order."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))
EACH_OTHER = {"README.md", "README.zh.md"}


def without_blocks(page: str) -> str:
    return re.sub(r"```.*?```", "", page, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("blocks", r"```.*?```"),
        ("levels of headings", r"^#+(?= )"),
    ],
)
def test_both_pages_have_the_same(what: str, pattern: str) -> None:
    flags = re.DOTALL | re.MULTILINE
    found = re.findall(pattern, ENGLISH, flags)
    assert len(found) >= 5, what
    assert re.findall(pattern, CHINESE, flags) == found


def test_both_pages_link_to_the_same_pages_in_the_same_order() -> None:
    english, chinese = (
        [link for link in re.findall(r"\]\(([^)]+)\)", page) if link not in EACH_OTHER] for page in (ENGLISH, CHINESE)
    )
    assert len(english) > 15
    assert chinese == english


def test_both_pages_name_the_same_things_in_code_and_the_same_numbers() -> None:
    for pattern in (r"`[^`]+`", r"(?<![\w.])\d+(?:\.\d+)?"):
        english, chinese = (Counter(re.findall(pattern, without_blocks(page))) for page in (ENGLISH, CHINESE))
        assert chinese == english


def test_each_page_leads_to_the_other() -> None:
    assert "](README.zh.md)" in ENGLISH
    assert "](README.md)" in CHINESE
