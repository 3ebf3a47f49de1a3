"""A world that is small enough for a fast test, and made up."""

import pytest
import torch

from simulations.attacks.authors.interactions import Interactions, like_movielens_1m
from simulations.attacks.authors.reproduction import least_popular


@pytest.fixture(scope="session")
def small_events() -> Interactions:
    """120 users, 600 items, and a fifth of each user's events held out."""
    return like_movielens_1m(5, num_users=120, num_items=600)


@pytest.fixture(scope="session")
def cold_item(small_events: Interactions) -> int:
    """The least popular item."""
    return least_popular(small_events.popularity)


@pytest.fixture
def seeded() -> torch.Generator:
    """A generator of seed 3."""
    return torch.Generator().manual_seed(3)
