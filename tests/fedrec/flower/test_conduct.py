"""What is known of nodes' conduct: who is left out, for how long, and what that leaves of everybody else's chances."""

from dataclasses import asdict
from json import dumps, loads

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.aggregation.reputation import Reputation
from fedrec.config import RobustnessConfig
from fedrec.flower.conduct import IDLE_BOUND, Conduct, Judged
from fedrec.flower.roster import Roster
from fedrec.privacy.sampling import poisson_cohort
from fedrec.rounds import NodeCard

ROSTER = Roster(cards=tuple(NodeCard(key=f"node-{i}", num_users=i + 1, catalogue_digest="c" * 64) for i in range(6)))
STRICT = RobustnessConfig(exclude_rounds=3)


def bad(*keys: str) -> Judged:
    return Judged(taken=tuple(card.key for card in ROSTER.cards if card.key not in keys), set_aside=keys)


def after(judged: list[Judged], config: RobustnessConfig = STRICT, start: Conduct | None = None) -> Conduct:
    found = start or Conduct()
    for number, one in enumerate(judged, 1):
        found = found.after(one, number, config, ROSTER)
    return found


def test_an_honest_run_knows_nothing_of_anybody() -> None:
    assert after([bad()] * 20) == Conduct()


def test_three_bad_rounds_leave_a_node_out_for_as_many_rounds_as_are_set_and_no_longer() -> None:
    found = after([bad("node-1")] * 3)
    assert found.excluded == {"node-1": 6}
    everybody = np.arange(ROSTER.population)
    for number, asked in ((4, False), (6, False), (7, True)):
        assert (1 in found.askable(everybody, number, ROSTER)) is asked
    again = found.after(bad("node-1"), 7, STRICT, ROSTER)
    assert again.excluded == {"node-1": 10}
    assert [alarm.kind for alarm in again.alarms(found, STRICT)] == ["conduct"]


def test_without_a_length_the_alarm_is_raised_and_the_node_still_asked() -> None:
    config = RobustnessConfig()
    before = after([bad("node-1")] * 2, config)
    found = before.after(bad("node-1"), 3, config, ROSTER)
    assert found.excluded == {}
    (alarm,) = found.alarms(before, config)
    assert (alarm.kind, alarm.subject, alarm.value, alarm.bound) == ("conduct", "node node-1", 0.125, 0.2)
    assert "still asked" in alarm.text
    assert found.after(bad("node-1"), 4, config, ROSTER).alarms(found, config) == ()


def test_no_more_than_half_of_all_users_are_left_out_at_once() -> None:
    found = after([bad("node-5", "node-4", "node-3", "node-2")] * 3)
    users = {card.key: card.num_users for card in ROSTER.cards}
    assert sum(users[key] for key in found.excluded) <= ROSTER.population / 2
    assert found.excluded


@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_others_are_asked_exactly_when_they_would_have_been_so_that_sampling_stays_what_is_accounted(
    seed: int, rate: float
) -> None:
    drawn = poisson_cohort(ROSTER.population, rate, np.random.default_rng(seed), None)
    found = after([bad("node-2")] * 3)
    kept = found.askable(drawn, 4, ROSTER)
    theirs = {3, 4, 5}
    assert set(kept.tolist()) == set(drawn.tolist()) - theirs


def test_what_earlier_runs_put_down_leaves_a_device_out_of_the_first_rounds() -> None:
    known = Reputation(scores={"node-1": 0.125, "node-2": 0.5, "elsewhere": 0.0})
    found = Conduct.begun(known, ROSTER, STRICT)
    assert found.excluded == {"node-1": 3}
    assert set(found.scores) == {"node-1", "node-2"}


def test_who_sends_nothing_of_its_own_again_and_again_is_named_once_and_an_odd_reply_is_forgotten() -> None:
    keys = tuple(card.key for card in ROSTER.cards)
    found, told = Conduct(), []
    for number in range(1, 8):
        idle = {"node-0": "zero"} | ({"node-1": "echo"} if number % 2 else {})
        before = found
        found = found.after(Judged(taken=keys, idle=idle), number, STRICT, ROSTER)
        told += [(number, alarm.node, alarm.value) for alarm in found.alarms(before, STRICT)]
    assert told == [(3, "node-0", IDLE_BOUND)]


def test_a_round_in_which_nobody_looked_changes_no_score_of_free_riders() -> None:
    known = Conduct(idle={"node-0": 2.0})
    assert known.after(bad(), 1, STRICT, ROSTER) == known


@pytest.mark.parametrize("idle", [None, {}, {"node-1": "echo"}])
def test_it_survives_the_disk(idle: dict[str, str] | None) -> None:
    judged = Judged(taken=("node-0", "node-1"), set_aside=("node-2",), idle=idle)
    assert Judged.from_fields(loads(dumps(asdict(judged)))) == judged
    found = after([judged] * 3)
    assert Conduct.from_fields(loads(dumps(found.to_fields()))) == found
