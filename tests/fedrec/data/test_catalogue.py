from dataclasses import replace

import numpy as np
import pytest

from fedrec.data.catalogue import Catalogue, Known
from fedrec.errors import DataError

PRESENT = np.array([True, False, True])


def known(*shape):
    values = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    return Known(values=values, present=PRESENT)


@pytest.fixture
def plain():
    return Catalogue(
        item_ids=("a", "b", "c"),
        titles=("A", "B", "C"),
        features=np.eye(3, 2, dtype=np.float32),
        feature_names=("x", "y"),
    )


@pytest.fixture
def full(plain):
    return replace(plain, described=np.array([True, True, False]), images=known(1, 2, 2), texts=known(4))


def test_a_saved_catalogue_comes_back_with_all_its_content(full, tmp_path):
    full.save(tmp_path)
    found = Catalogue.load(tmp_path)
    assert found.digest == full.digest
    assert found.described.tolist() == [True, True, False]
    for ours, theirs in ((full.images, found.images), (full.texts, found.texts)):
        np.testing.assert_array_equal(theirs.present, ours.present)
        np.testing.assert_array_equal(theirs.values[PRESENT], ours.values[PRESENT])


def test_a_catalogue_of_attributes_alone_is_what_it_was_before_there_were_others(plain, tmp_path):
    plain.save(tmp_path)
    found = Catalogue.load(tmp_path)
    assert (found.images, found.texts, found.described.tolist()) == (None, None, [True] * 3)
    assert plain.digest == "ef141d4b83a94dd6b9d990697751e20eac388f7faf48ed2526f4e36412320945"


def test_the_digest_tells_every_content_from_its_absence(plain, full):
    variants = [
        plain,
        full,
        *(replace(full, **{name: getattr(plain, name)}) for name in ("described", "images", "texts")),
        replace(full, images=Known(values=full.images.values, present=np.ones(3, np.bool_))),
        replace(full, texts=Known(values=2 * full.texts.values, present=PRESENT)),
    ]
    assert len({variant.digest for variant in variants}) == len(variants)


def test_numbers_in_the_place_of_what_is_absent_are_not_in_the_digest(full):
    values = full.texts.values.copy()
    values[1] = 7
    assert replace(full, texts=Known(values=values, present=PRESENT)).digest == full.digest


def test_content_of_another_shape_or_kind_is_refused(plain):
    with pytest.raises(ValueError, match="4 axes"):
        replace(plain, images=known(2, 2))
    with pytest.raises(ValueError, match="float32"):
        Known(values=np.zeros((3, 1)), present=PRESENT)
    with pytest.raises(ValueError, match="marks"):
        Known(values=np.zeros((2, 1), np.float32), present=PRESENT)
    with pytest.raises(ValueError, match="described"):
        replace(plain, described=PRESENT[:2])
    bad = known(4)
    bad.values[2] = np.inf
    with pytest.raises(DataError, match="text of item 'c'"):
        replace(plain, texts=bad)
