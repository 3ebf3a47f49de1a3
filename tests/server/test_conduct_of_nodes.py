"""Nodes that misbehave in a run: judged by what they themselves sent, left out, remembered over breaks and runs."""

import json

import pytest
import torch

from fedrec.aggregation.reputation import Reputation
from fedrec.errors import DataError
from fedrec.flower.conduct import Conduct
from fedrec.flower.events import What
from server.reputation import Reputations
from tests.server.small_run import FIRST, SmallRun

STRICT = {"exclude_rounds": 1, "exclude_below": 0.6}


def told(run: SmallRun, what: What) -> list[tuple[int, object]]:
    return [(event.round, event.facts.get("node")) for event in run.events if event.what is what]


@pytest.mark.abuse
@pytest.mark.parametrize("kind", ["nan", "shape", "garbage"])
@pytest.mark.parametrize("private", [False, True])
def test_a_node_that_sends_rubbish_is_not_asked_for_a_while_and_then_tried_again(tmp_path, kind, private):
    run = SmallRun(tmp_path, private=private, popularity=False, robustness=STRICT, bad={2: kind})
    state = run.play()
    assert told(run, What.REPLY_QUARANTINED) == [(1, "node-2"), (3, "node-2")]
    assert told(run, What.NODE_EXCLUDED) == [(1, "node-2"), (3, "node-2")]
    alarms = [event for event in run.events if event.what is What.ALARM]
    assert [(alarm.facts["kind"], alarm.facts["subject"], alarm.facts["value"]) for alarm in alarms] == [
        ("conduct", "node node-2", 0.5),
        ("conduct", "node node-2", 0.25),
    ]
    assert state.conduct == Conduct(scores={"node-2": 0.25})
    asked = {event.round: event.facts["asked"] for event in run.events if event.what is What.ROUND_OPENED}
    assert asked == {1: 3, 2: 2, 3: 3, 4: 2}
    if private:  # who is left out counts as zeros: population, rate and what is charged stay as they are
        assert state.roster.population == 9
        assert [charge.round for charge in run.ledger.charges()] == [1, 2, 3, 4]


@pytest.mark.fault
def test_after_a_break_it_is_known_what_was_known(tmp_path):
    whole = SmallRun(tmp_path / "whole", private=False, popularity=False, robustness=STRICT, bad={2: "nan"})
    expected = whole.play()
    rounds = []
    for number in (1, 2, 3, 4):
        part = SmallRun(
            tmp_path / "parts", private=False, popularity=False, robustness=STRICT, bad={2: "nan"}, rounds=number
        )
        state = part.play()
        rounds += told(part, What.NODE_EXCLUDED)
    assert state.conduct == expected.conduct
    assert rounds == told(whole, What.NODE_EXCLUDED)
    assert all(torch.equal(state.shared[name], expected.shared[name]) for name in FIRST)


def test_devices_reputations_go_from_run_to_run_and_those_of_others_stay(tmp_path):
    kept = Reputations(tmp_path / "reputation.json")
    run = SmallRun(tmp_path / "one", private=False, popularity=False, robustness=STRICT, bad={2: "nan"}, rounds=1)
    state = run.play()
    kept.save(state)
    kept.save(state)
    assert kept.read() == Reputation(scores={"node-2": 0.5})
    assert (tmp_path / "reputation.json").stat().st_mode & 0o777 == 0o600
    elsewhere = {"version": 1, "scores": {"elsewhere": 0.25, "node-2": 0.125}}
    (tmp_path / "reputation.json").write_text(json.dumps(elsewhere))
    kept.save(state)
    assert kept.read().scores == {"elsewhere": 0.25, "node-2": 0.5}


def test_honest_runs_write_no_file_and_a_damaged_one_is_named(tmp_path):
    kept = Reputations(tmp_path / "reputation.json")
    kept.save(SmallRun(tmp_path / "one", private=False, popularity=False, rounds=1).play())
    assert not kept.path.exists()
    kept.path.write_text("{")
    with pytest.raises(DataError, match="reputations of devices cannot be read"):
        kept.read()
