import numpy as np
import pytest

from fedrec.data.canaries import Canaries, reserved_items, toss, with_reserved_items
from fedrec.data.catalogue import Catalogue, Known
from fedrec.data.histories import Histories
from fedrec.errors import DataError


def catalogue(*item_ids: str) -> Catalogue:
    rows = len(item_ids)
    return Catalogue(
        item_ids=item_ids,
        titles=item_ids,
        features=np.ones((rows, 2), np.float32),
        feature_names=("a", "b"),
        texts=Known(values=np.ones((rows, 3), np.float32), present=np.ones(rows, np.bool_)),
    )


def test_reserved_items_come_last_and_are_known_by_nothing() -> None:
    more = with_reserved_items(catalogue("1", "2"), 3)
    assert more.item_ids[:2] == ("1", "2")
    assert reserved_items(more).tolist() == [2, 3, 4]
    assert more.described.tolist() == [True, True, False, False, False]
    assert more.texts is not None
    assert more.texts.present.tolist() == [True, True, False, False, False]
    assert more.images is None


def test_a_catalogue_has_no_reserved_items_of_its_own() -> None:
    assert reserved_items(catalogue("1", "2")).tolist() == []
    with pytest.raises(DataError, match="'fedrec-reserved:7' begins like those that audits reserve"):
        with_reserved_items(catalogue("1", "fedrec-reserved:7"), 3)


def test_a_canary_that_takes_part_meets_its_own_item_alone_and_the_others_nothing() -> None:
    canaries = Canaries(rows=np.array([5, 6, 7]), coins=np.array([True, False, True]))
    found = canaries.histories(Histories.from_lists([[0, 1]]))
    assert [found[user].tolist() for user in range(3)] == [[5, 5], [], [7, 7]]
    assert found.ratings is None
    assert found.times is None


def test_canaries_have_the_columns_of_real_users_and_look_like_the_latest_of_them() -> None:
    real = Histories.from_lists([[0, 1], [1]], [[2.0, 4.0], [1.0]], [[10.0, 20.0], [15.0]])
    found = Canaries(rows=np.array([5, 6]), coins=np.array([True, False])).histories(real)
    assert found.ratings is not None
    assert found.ratings.tolist() == [4.0, 4.0]
    assert found.times is not None
    assert found.times.tolist() == [20.0, 20.0]


def test_coins_are_fair_and_of_the_generator() -> None:
    tossed = toss(10, 10_000, np.random.default_rng(1))
    assert tossed.rows.tolist() == list(range(10, 10_010))
    assert abs(tossed.coins.mean() - 0.5) < 0.025  # five deviations
    assert (tossed.coins == toss(10, 10_000, np.random.default_rng(1)).coins).all()
    assert len(set(tossed.user_keys)) == 10_000


def test_two_canaries_never_share_an_item() -> None:
    with pytest.raises(ValueError, match="one item of its own"):
        Canaries(rows=np.array([5, 5]), coins=np.array([True, False]))
