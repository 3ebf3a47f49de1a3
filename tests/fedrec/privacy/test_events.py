"""Events as a ledger keeps them: what does not describe one is refused, what is not known is kept."""

import pytest

from fedrec.privacy.events import CorrelatedGaussian, SampledGaussian, UnknownEvent, event_fields, parse_event

EVENTS = [
    SampledGaussian(noise_multiplier=1.5, sample_rate=0.1, steps=3),
    CorrelatedGaussian(noise_multiplier=1.5, stream="a/training"),
    UnknownEvent(kind="laplace"),
]


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_comes_back_from_its_fields(event):
    assert parse_event(event_fields(event)) == event


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"noise_multiplier": True}, "'noise_multiplier' of the event is True"),
        ({"noise_multiplier": "1.5"}, "'noise_multiplier' of the event is '1.5'"),
        ({"steps": 2.5}, "'steps' of the event is 2.5, not a whole number"),
    ],
)
def test_fields_of_another_kind_are_refused(change, told):
    with pytest.raises(TypeError, match=told):
        parse_event({**event_fields(EVENTS[0]), **change})


def test_a_word_that_is_a_number_is_refused():
    with pytest.raises(TypeError, match="'stream' of the event is 7"):
        parse_event({**event_fields(EVENTS[1]), "stream": 7})
