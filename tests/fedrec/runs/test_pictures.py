import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.runs.pictures import VARIABLES, draw_pictures, spread

pytestmark = pytest.mark.xdist_group("pictures")  # what is made for all is made once


@pytest.fixture(scope="module")
def rows():
    return [
        {
            "round": number,
            "phase": "final",
            "epsilon": 1.0 + number,
            "fusion": {"cf": 0.5, "mf": 0.2, "seq": 0.3},
            "bytes_down": 100 * number,
            "bytes_up": 90 * number,
            "metrics": {"hr@10": 0.01 * number, "ndcg@10": 0.005 * number},
        }
        for number in range(5)
    ]


@pytest.fixture(scope="module")
def pictures(summary, rows):
    return draw_pictures(summary, rows)


def test_a_run_with_everything_has_all_pictures(pictures):
    assert set(pictures) == {"quality", "learning", "budget", "fusion", "bytes"}


def test_a_run_without_rounds_has_its_quality_only(summary):
    assert set(draw_pictures(summary, [])) == {"quality"}


def test_a_run_without_privacy_has_no_budget(summary, rows):
    assert "budget" not in draw_pictures(summary.model_copy(update={"privacy": None}), rows)


def test_pictures_are_well_formed_and_ask_for_nothing_from_outside(pictures):
    for svg in pictures.values():
        ElementTree.fromstring(svg.replace("xlink:href", "href"))
        assert "http" not in svg
        assert "<style" not in svg


def test_colours_are_the_pages(pictures):
    for svg in pictures.values():
        assert "var(--ink)" in svg
        assert not any(stand_in in svg for stand_in in VARIABLES)
        assert "font-family" not in svg


def test_ids_are_unique_over_all_pictures_of_a_page(pictures):
    ids = re.findall(r'\bid="([^"]*)"', "".join(pictures.values()))

    assert ids
    assert len(ids) == len(set(ids))


def test_every_reference_in_a_picture_has_its_target(pictures):
    for svg in pictures.values():
        references = set(re.findall(r'(?:url\(#|href="#)([^)"]*)', svg))
        assert references <= set(re.findall(r'\bid="([^"]*)"', svg))


def test_the_same_run_is_drawn_the_same(summary, rows, pictures):
    assert draw_pictures(summary, rows) == pictures


def test_floors_are_named_at_their_lines(pictures):
    for label in ("popularity", "DP popularity", "EASE", "Markov", "this run"):
        assert f">{label}</text>" in pictures["learning"]


def test_the_companion_without_privacy_has_its_own_curve(summary, rows, pictures):
    together = draw_pictures(summary, rows, rows)

    assert ">no privacy</text>" not in pictures["learning"]
    assert ">no privacy</text>" in together["learning"]


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 0.5))
def test_labels_end_up_apart_in_the_same_order_and_around_the_same_middle(heights, gap):
    moved = spread(heights, gap)

    order = sorted(range(len(heights)), key=lambda position: heights[position])
    assert all(moved[b] - moved[a] >= gap - 1e-9 for a, b in pairwise(order))
    assert sum(moved) == pytest.approx(sum(heights))


def test_labels_that_are_apart_already_stay():
    assert spread([0.1, 0.9, 0.5], 0.1) == pytest.approx([0.1, 0.9, 0.5])
