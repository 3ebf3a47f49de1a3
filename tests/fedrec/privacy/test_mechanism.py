"""What a mechanism says of its noise, against what is drawn."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import Correlation, FixedPoint, Mechanism, Placement
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.release import device_part, release

USERS = 40


def mechanism(placement: Placement) -> Mechanism:
    fixed = FixedPoint(scale=2.0**10, bits=31, dimension=3000, norm_bound=2.0**11)
    return Mechanism(
        clip_norm=1.0,
        noise_multiplier=1.5,
        sample_rate=1.0,
        population=USERS,
        placement=placement,
        noise="skellam" if placement == "distributed" else "gaussian",
        amplified=False,
        minimum_users=10 if placement == "distributed" else 1,
        fixed_point=fixed if placement == "distributed" else None,
    )


@pytest.mark.parametrize("placement", ["central", "device", "distributed"])
def test_the_noise_on_the_sum_of_everybody_is_as_large_as_is_said(placement: Placement) -> None:
    asked, source = mechanism(placement), noise_generator(0)
    nothing = SharedState({"table": torch.zeros(3000)})
    total = device_part([nothing] * USERS, USERS, asked, source)
    noise = release(total, asked, source)["table"].double() * asked.expected_cohort
    assert float(noise.std()) == pytest.approx(asked.sum_noise_std, rel=0.06)


FIXED = FixedPoint(scale=2.0**10, bits=31, dimension=8, norm_bound=2.0**11)
ROTATING = Correlation(strategy="banded", rounds=8, separation=4, participations=2, sensitivity=1.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"minimum_users": 0}, "minimum_users must be at least 1, got 0"),
        ({"cohort_cap": 0}, "cohort_cap must be at least 1, got 0"),
        ({"placement": "device", "amplified": True, "sample_rate": 0.5}, "set amplified to false"),
        ({"noise": "skellam"}, "fixed_point must go together"),
        ({"fixed_point": FIXED}, "fixed_point must go together"),
        ({"placement": "distributed"}, "shares are summed as integers"),
        ({"noise": "skellam", "fixed_point": FIXED, "amplified": True, "sample_rate": 0.5}, "no amplification"),
        ({"correlation": ROTATING, "amplified": True}, "correlated noise is Gaussian, central and not amplified"),
        ({"correlation": ROTATING, "placement": "device"}, "correlated noise is Gaussian, central and not amplified"),
        ({"correlation": ROTATING, "count_noise": 2.0}, "one clip norm for all rounds"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(change: dict[str, Any], told: str) -> None:
    assert mechanism("central").placement == "central"
    with pytest.raises(ValueError, match=told):
        replace(mechanism("central"), **change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bits": 1}, "bits must be from 2 to 62, got 1"),
        ({"bits": 63}, "bits must be from 2 to 62, got 63"),
        ({"dimension": 0}, "dimension must be at least 1, got 0"),
    ],
)
def test_an_encoding_that_holds_no_numbers_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(FIXED, **change)
