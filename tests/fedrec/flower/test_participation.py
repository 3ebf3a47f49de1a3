"""Nobody is asked more often, or sooner again, than a run says, whatever rounds come to."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.config import FederationConfig, TrainingConfig
from fedrec.errors import RoundFailedError
from fedrec.flower.clock import Clock
from fedrec.flower.participation import Participation, after_asking, is_exhausted, may_be_asked
from fedrec.flower.selection import select_cohort
from fedrec.flower.state import Randomness
from fedrec.rounds import Contribution

UPDATE = Contribution.UPDATE


def bounded(maximum: int = 0, separation: int = 0, **more: object) -> FederationConfig:
    return FederationConfig(maximum_participations=maximum, minimum_separation=separation, **more)


def played(federation: FederationConfig, population: int, rate: float, turns: int, seed: int) -> list[np.ndarray]:
    """Return the cohorts of so many turns, the state written down and read between any two."""
    known, cohorts = None, []
    for number in range(1, turns + 1):
        cohort = select_cohort(
            number,
            population=population,
            contribution=UPDATE,
            training=TrainingConfig(sample_rate=rate),
            mechanism=None,
            randomness=Randomness(cohort_seed=seed, noise_seed=None),
            run_id="run",
            may=may_be_asked(federation, known, population, UPDATE),
        )
        cohorts.append(cohort)
        known = after_asking(federation, known, population, UPDATE, cohort)
        known = Participation.from_fields(known.to_fields()) if known else None
    return cohorts


@given(
    population=st.integers(1, 60),
    rate=st.floats(0.05, 1.0),
    turns=st.integers(1, 25),
    maximum=st.integers(0, 5),
    separation=st.integers(0, 6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_caps_and_distances_hold_for_every_user(population, rate, turns, maximum, separation, seed):
    asked = defaultdict(list)
    for turn, cohort in enumerate(played(bounded(maximum, separation), population, rate, turns, seed)):
        assert sorted(set(cohort)) == list(cohort)
        for user in cohort:
            asked[user].append(turn)
    for moments in asked.values():
        assert not maximum or len(moments) <= maximum
        assert all(later - one >= max(separation, 1) for one, later in pairwise(moments))


def test_without_bounds_cohorts_are_those_of_before():
    free = played(bounded(), 50, 0.3, 8, 1)
    loose = played(bounded(maximum=1000), 50, 0.3, 8, 1)
    assert all(np.array_equal(one, other) for one, other in zip(free, loose, strict=True))


def test_as_many_users_are_expected_as_without_a_distance():
    cohorts = played(bounded(separation=4), 2000, 0.2, 60, 3)
    assert np.mean([len(cohort) for cohort in cohorts]) == pytest.approx(400, rel=0.05)


def test_a_tight_distance_asks_everybody_in_turn():
    """One over the rate is the distance at which a rotation is all that is left."""
    cohorts = played(bounded(separation=4), 400, 0.25, 40, 5)
    times = np.bincount(np.concatenate(cohorts), minlength=400)
    assert times.max() <= 10
    assert times.min() >= 7


def test_rounds_that_ask_everybody_are_no_turns():
    federation, everybody = bounded(1, 3), np.arange(5)
    for kind in (Contribution.POPULARITY, Contribution.RANKS):
        assert after_asking(federation, None, 5, kind, everybody).turn == 0
        assert may_be_asked(federation, None, 5, kind) is None


def test_a_run_is_exhausted_once_too_few_may_be_asked():
    federation = bounded(1, minimum_cohort=2)
    known = Participation.none(4).after(np.array([0, 1]))
    assert not is_exhausted(federation, known, 4)
    assert is_exhausted(federation, known.after(np.array([2])), 4)
    assert not is_exhausted(bounded(), known, 4)


@pytest.mark.parametrize("fields", [{"turn": 1, "last": [2], "times": [1]}, {"turn": 1, "last": [1, 1], "times": [1]}])
def test_what_is_no_account_of_who_was_asked_is_refused(fields):
    with pytest.raises(ValueError, match=r"asked at turns|one number a user"):
        Participation.from_fields(fields)


def cohorts_of(nodes) -> dict[int, list[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for key, task in nodes.tasks:
        found[task.round].add(key)
    return {number: sorted(keys) for number, keys in found.items()}


def test_a_run_ends_when_everybody_was_asked_as_often_as_they_may_be(bench, script):
    strategy = bench.strategy(sample_rate=0.5, minimum_replies=0.01, federation={"maximum_participations": 2})
    nodes = script([1] * 8)
    bench.start(strategy, nodes.grid(), 50)
    assert strategy.stopped == "participation"
    times = np.bincount([int(key.removeprefix("node-")) for key, _ in nodes.tasks], minlength=8)
    assert set(times) == {2}


def test_a_resumed_run_asks_whom_an_uninterrupted_one_asks(bench, script):
    bounds = {"sample_rate": 0.3, "federation": {"minimum_separation": 3, "maximum_participations": 4}}
    whole, first, second = script([1] * 12), script([1] * 12), script([1] * 12)
    bench.start(bench.strategy(**bounds), whole.grid(), 8)
    bench.saved.clear()
    bench.start(bench.strategy(**bounds), first.grid(), 4)
    bench.start(bench.strategy(**bounds, resume=bench.saved[-1]), second.grid(), 8)
    assert cohorts_of(whole) == {**cohorts_of(first), **cohorts_of(second)}


def test_whoever_an_abandoned_round_asked_is_not_asked_when_it_is_tried_again(bench, script):
    def mute(message, task):
        raise ValueError("away")

    nodes = script([1] * 10)
    nodes.replies = {f"node-{number}": mute for number in range(10)}
    strategy = bench.strategy(
        sample_rate=0.4,
        federation={"minimum_separation": 2, "abandoned_in_a_row": 2},
        clock=Clock(sleep=lambda seconds: None),
    )
    with pytest.raises(RoundFailedError):
        bench.start(strategy, nodes.grid(), 3)
    attempts: dict[str, set[str]] = defaultdict(set)
    for key, task in nodes.tasks:
        attempts[key].add(task.nonce)
    assert len(nodes.tasks) > 4
    assert all(len(nonces) == 1 for nonces in attempts.values())
    assert strategy.state.participation.turn == 2


def test_a_state_without_bounds_keeps_no_account(bench, script):
    strategy = bench.strategy(sample_rate=0.5)
    bench.start(strategy, script([1] * 4).grid(), 2)
    assert strategy.state.participation is None
