"""Of what a guarantee may rest on, a claim assumes what its own releases rest on and nothing else."""

from dataclasses import replace

import pytest

from fedrec.privacy.assumptions import CAPPED, TURNS, assumptions_of
from fedrec.privacy.correlation.participation import correlation_for
from fedrec.privacy.guarantee import INTERACTION_LEVEL, SAMPLED, USER_LEVEL
from fedrec.privacy.mechanism import Mechanism

SOME = Mechanism(clip_norm=1, noise_multiplier=1, sample_rate=0.5, population=10)
ALL = replace(SOME, sample_rate=1.0)
BY_TURNS = replace(SOME, amplified=False, correlation=correlation_for("tree", 6, 2))
OTHERS = USER_LEVEL.assumptions[1:]


@pytest.mark.parametrize(
    ("used", "assumed"),
    [
        ([SOME], (SAMPLED, *OTHERS)),
        ([ALL], OTHERS),
        ([ALL, SOME], (SAMPLED, *OTHERS)),
        ([replace(SOME, amplified=False)], OTHERS),
        ([replace(SOME, cohort_cap=4)], (SAMPLED, CAPPED, *OTHERS)),
        ([BY_TURNS], (*OTHERS, TURNS)),
    ],
)
def test_secret_samples_caps_and_turns_are_assumed_where_a_release_rests_on_them(used, assumed):
    assert assumptions_of(USER_LEVEL, used) == assumed


def test_batches_on_a_device_are_assumed_to_be_secret_whatever_the_servers_cohorts_are():
    assert assumptions_of(INTERACTION_LEVEL, [ALL]) == INTERACTION_LEVEL.assumptions
