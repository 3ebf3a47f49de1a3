"""Buffered rounds are refused, with the reason, where they cannot fill or where what is claimed rests on cohorts."""

import pytest

from fedrec.config.reading import parse_scenario
from fedrec.errors import ConfigError

BUFFERED = ["federation.mode=buffered", "federation.nodes=20"]
OPEN = [*BUFFERED, "privacy.enabled=false"]
DEVICE = [*BUFFERED, "privacy.placement=device"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (BUFFERED, "amplification by sampling, on which privacy.placement=central counts, does not hold"),
        (
            [*BUFFERED, "privacy.placement=distributed", "privacy.noise=skellam"],
            "are of one cohort, a buffer's of several",
        ),
        ([*BUFFERED, "privacy.correlation=tree"], "set privacy.placement=device"),
        ([*OPEN, "federation.enough_replies=0.7"], "closes synchronous rounds"),
        ([*OPEN, "federation.buffered.concurrency=5"], "5 nodes at work never fill buffered.buffer=10"),
        ([*OPEN, "federation.buffered.concurrency=61"], r"5.1 steps old on average.*lower concurrency to 60"),
        ([*OPEN, "federation.nodes=9"], "federation.nodes=9 nodes never fill"),
        ([*OPEN, "federation.codec.name=low-rank"], "choose fp16 or int8"),
        ([*DEVICE, 'model.members=["ials"]'], "leave out model.members"),
        ([*OPEN, "federation.buffered.maximum_staleness=-1"], "greater than or equal to 0"),
    ],
)
def test_what_buffers_cannot_keep_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        parse_scenario({}, settings)


@pytest.mark.parametrize("settings", [OPEN, DEVICE, [*OPEN, "federation.codec.name=int8"]])
def test_what_each_reply_pays_for_itself_may_be_buffered(settings):
    assert parse_scenario({}, settings).federation.mode == "buffered"


def test_settings_of_buffers_alone_change_nothing():
    federation = parse_scenario({}, ["federation.buffered.concurrency=5"]).federation
    assert federation.mode == "synchronous"
