"""Splits, negatives and the made-up set of MovieLens-1M's size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedrec.data.fetch import DATA_VARIABLE
from simulations.attacks.authors.interactions import Interactions, fifth_of_each, fifth_out, last_out, like_movielens_1m


def test_no_negative_is_an_item_that_its_user_trains_on(small_events: Interactions, seeded: torch.Generator) -> None:
    drawn = small_events.negatives(4, seeded)
    met = small_events.met(tests=False)
    assert drawn.shape == (len(small_events.users), 4)
    assert not met[small_events.users[:, None], drawn].any()
    assert len(torch.unique(drawn)) > 550  # from the whole catalogue


def test_a_fifth_of_each_user_s_pairs_is_marked_rounded_down() -> None:
    users = np.repeat([0, 1, 2], [4, 5, 23])
    marked = fifth_of_each(users, 7)
    assert np.bincount(users, weights=marked).tolist() == [0, 1, 4]


def test_training_and_tests_are_apart_and_ascend_by_user(small_events: Interactions) -> None:
    trained = set(zip(small_events.users.tolist(), small_events.items.tolist(), strict=True))
    tested = set(zip(small_events.test_users.tolist(), small_events.test_items.tolist(), strict=True))
    assert not trained & tested
    assert bool((small_events.users.diff() >= 0).all())
    assert bool((small_events.test_users.diff() >= 0).all())
    assert int(small_events.popularity.sum()) == len(trained) + len(tested)


def test_the_last_event_of_every_user_is_the_test() -> None:
    events = last_out("synthetic", 0)
    assert torch.equal(events.test_users, torch.arange(events.num_users))


def test_a_user_s_own_movielens_1m_is_read_by_its_name_in_its_publisher_s_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    (tmp_path / "ml-1m").mkdir()
    lines = [f"{user}::{10 * item}::4::{978300000 + item}" for user in (3, 7) for item in range(1, 11)]
    (tmp_path / "ml-1m" / "ratings.dat").write_text("\n".join(lines) + "\n")
    events = fifth_out("ml-1m", 0)
    assert (events.num_users, events.num_items) == (2, 10)
    assert torch.bincount(events.test_users).tolist() == [2, 2]


@pytest.mark.slow
def test_the_made_up_set_has_movielens_1m_s_size_and_skew() -> None:
    """MovieLens-1M: 1,000,209 events; items' quartiles 33, 123 and 350; users' 44, 96 and 208."""
    events = like_movielens_1m(0)
    assert len(events.users) + len(events.test_users) == pytest.approx(1_000_209, rel=0.05)
    quartiles = torch.tensor([0.25, 0.5, 0.75])
    of_items = torch.quantile(events.popularity.float(), quartiles)
    of_users = torch.quantile(torch.bincount(torch.cat([events.users, events.test_users])).float(), quartiles)
    torch.testing.assert_close(of_items, torch.tensor([33.0, 123.0, 350.0]), rtol=0.4, atol=0)
    torch.testing.assert_close(of_users, torch.tensor([44.0, 96.0, 208.0]), rtol=0.1, atol=0)
