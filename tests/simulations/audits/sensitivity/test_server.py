"""The server under the fuzz: what it should take it takes, and no more."""

from pathlib import Path

import pytest

from simulations.audits.sensitivity.server import ODDITIES, SIZES, Reply, Server

GOOD = Reply(asked=2, says=2, size=1.0)


def test_good_replies_come_to_their_bound_and_the_divisor_is_public(tmp_path: Path) -> None:
    taken = Server(tmp_path).take((GOOD, Reply(asked=1, says=1, size=0.5)))
    assert taken.ratio == pytest.approx(1.0, abs=1e-6)
    assert taken.divisor < 1e-6
    assert not taken.reason


@pytest.mark.parametrize("odd", [*ODDITIES, ""])
def test_a_reply_that_does_not_keep_to_the_protocol_is_no_more_than_its_bound(tmp_path: Path, odd: str) -> None:
    size = 1.0 if odd else 1.2
    taken = Server(tmp_path).take((Reply(asked=2, says=2, size=size, odd=odd), GOOD), released=False)
    assert not taken.reason
    assert taken.ratio == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("odd", [*ODDITIES, ""])
def test_whatever_size_and_oddity_are_drawn_together_the_production_takes_what_it_should(
    tmp_path: Path, odd: str
) -> None:
    server = Server(tmp_path)
    for reply in [Reply(asked=2, says=says, size=size, odd=odd) for size in SIZES for says in (2, 3)]:
        assert not server.take((reply, GOOD), released=False).reason
        alone = server.take((reply,), released=False)
        assert (alone.ratio > 0) == reply.is_good, reply.told()


def test_replies_are_told_in_words() -> None:
    told = Reply(asked=1, says=1000, size=900.0, odd="weight").told()
    assert told == (
        "a node of 1 users that says 1000 with 900 times what they may have together, asking for a weight of its own"
    )
