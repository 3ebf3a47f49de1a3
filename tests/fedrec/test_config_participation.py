"""Bounds on who is asked when go with claims that do not count on independent draws, and with no other."""

import pytest
from pydantic import ValidationError

from fedrec.config import Scenario

BOUNDS = [{"maximum_participations": 3}, {"minimum_separation": 4}]


def scenario(federation: dict[str, object], **privacy: object) -> Scenario:
    return Scenario.model_validate(
        {
            "training": {"sample_rate": 0.1},
            "federation": federation,
            "privacy": {"enabled": bool(privacy), **privacy},
        }
    )


@pytest.mark.parametrize("bounds", BOUNDS)
def test_amplification_by_sampling_is_not_claimed_where_the_past_decides_who_is_asked(bounds):
    with pytest.raises(ValidationError, match=r"amplification by sampling counts on independent draws: leave it out"):
        scenario(bounds, placement="central")


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize(
    "privacy",
    [{}, {"placement": "central", "amplification": False, "adjacency": "zero-out"}, {"placement": "device"}],
    ids=str,
)
def test_claims_without_amplification_take_them(bounds, privacy):
    name, value = next(iter(bounds.items()))
    assert getattr(scenario(bounds, **privacy).federation, name) == value


@pytest.mark.parametrize("bounds", BOUNDS)
def test_correlated_noise_has_its_own_distance(bounds):
    with pytest.raises(ValidationError, match=r"set privacy\.separation, which each device enforces"):
        scenario(bounds, correlation="banded")


def test_a_distance_that_the_sample_rate_does_not_fit_into_is_refused():
    with pytest.raises(ValidationError, match=r"leaves a round at most 1/11 of the users.*sample_rate=0\.1 asks"):
        scenario({"minimum_separation": 11})


def test_a_distance_of_one_round_is_none():
    assert scenario({"minimum_separation": 1}, placement="central").federation.minimum_separation == 1


@pytest.mark.parametrize("bounds", BOUNDS)
def test_a_user_is_taken_out_by_its_data_and_not_by_its_place_in_the_roster(bounds):
    """One more user moves the others' turns, which is more than the noise is made for."""
    with pytest.raises(ValidationError, match=r"moves the others' turns: set privacy\.adjacency=zero-out"):
        scenario(bounds, placement="central", amplification=False)
