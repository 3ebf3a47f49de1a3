from dataclasses import replace

import numpy as np
import pytest

from fedrec.data.items import ItemTable, build_catalogue
from fedrec.errors import DataError


@pytest.fixture
def table() -> ItemTable:
    return ItemTable(
        item_ids=("a", "b", "c"),
        token={"year": ("1995", "2001", "")},
        token_seq={"genre": (("Drama",), ("Drama", "War"), ())},
        number={"price": np.array([1.0, 3.0, np.nan])},
        text={"title": ("Alpha", "", "Gamma"), "plot": ("long", "longer", "longest")},
    )


def test_features_follow_the_order_of_the_asked_items(table):
    catalogue = build_catalogue(["c", "b", "a"], table)
    assert catalogue.feature_names == (
        "year=1992-1997",
        "year=1998-2003",
        "genre=Drama",
        "genre=War",
        "price",
        "price is missing",
    )
    assert catalogue.features.tolist() == [[0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 0], [1, 0, 1, 0, -1, 0]]
    assert catalogue.titles == ("Gamma", "b", "Alpha")


def test_an_item_that_the_table_lacks_has_no_content_and_its_id_as_title(table):
    catalogue = build_catalogue(["zz", "a"], table)
    assert not catalogue.features[0].any()
    assert catalogue.titles == ("zz", "Alpha")


def test_items_that_nobody_asked_for_do_not_shape_features(table):
    assert "genre=War" not in build_catalogue(["a", "c"], table).feature_names


def test_titles_and_other_text_are_never_features(table):
    names = build_catalogue(["a", "b", "c"], table).feature_names
    assert not [name for name in names if name.startswith(("title", "plot"))]


def test_without_a_table_there_are_no_features():
    catalogue = build_catalogue(["a", "b"], None)
    assert catalogue.features.shape == (2, 0)
    assert catalogue.titles == ("a", "b")


def test_a_catalogue_of_one_item_is_refused(table):
    with pytest.raises(DataError, match="at least 2 items"):
        build_catalogue(["a"], table)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"token": {"t": ("x",)}}, "1 values for 2 items"),
        ({"number": {"n": np.array([1.0, np.inf])}}, "finite"),
        ({"item_ids": ("a", "a")}, "unique"),
    ],
)
def test_nonsense_is_refused_at_birth(columns, message):
    with pytest.raises(ValueError, match=message):
        ItemTable(**{"item_ids": ("a", "b"), **columns})


class FakeEncoder:
    """Two numbers a text: its length, and whether it has a stop."""

    def encode(self, texts):
        return np.array([[len(text) * (text != "long"), "." in text] for text in texts], dtype=np.float32)


def test_titles_and_texts_become_vectors_of_the_items_that_have_any(table):
    several = replace(table, text={"title": ("Alpha", "", "Gamma"), "text": ("plot", "long", "")})
    texts = build_catalogue(["c", "zz", "b", "a"], several, encoder=FakeEncoder()).texts
    assert texts.values.tolist() == [[5, 0], [0, 0], [0, 0], [11, 1]]
    assert texts.present.tolist() == [True, False, False, True]  # "b" has a text of which the encoder makes nothing
    assert build_catalogue(["zz", "a"], table).texts is None
    assert build_catalogue(["a", "b"], None, encoder=FakeEncoder()).texts is None


def test_images_are_put_beside_the_items_that_they_are_of(table):
    image = np.full((1, 2, 2), 0.5, dtype=np.float32)
    images = build_catalogue(["b", "a"], table, {"a": image, "elsewhere": image}).images
    assert images.present.tolist() == [False, True]
    assert images.values[1].tolist() == image.tolist()
    assert not images.values[0].any()
    assert build_catalogue(["b", "c"], table, {"a": image}).images is None


def test_items_that_the_table_lacks_are_marked_as_not_described(table):
    assert build_catalogue(["zz", "a"], table).described.tolist() == [False, True]
    assert build_catalogue(["zz", "a"], None).described.tolist() == [True, True]
