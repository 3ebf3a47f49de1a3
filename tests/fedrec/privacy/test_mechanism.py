"""What a mechanism says of its noise, against what is drawn."""

import pytest
import torch

from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import FixedPoint, Mechanism, Placement
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
