"""Every kind of event in the account: capped cohorts, streams, discrete noise, replaced units, households."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.privacy.accounting.accountant import (
    KEPT_GROWING,
    LIVE_INTERVAL,
    PldAccountant,
    epsilon_pld,
    epsilon_rdp,
    grouped,
)
from fedrec.privacy.accounting.neighbours import Neighbours
from fedrec.privacy.accounting.single_release import distribution_of, log_moment, loss_range, without_sampling
from fedrec.privacy.events import (
    CappedGaussian,
    CorrelatedGaussian,
    DiscreteSum,
    Event,
    SampledGaussian,
    UnknownEvent,
)
from fedrec.privacy.guarantee import Adjacency

COARSE = 5e-3
SAMPLE_RATE = 100 / 6040


def sampled(noise_multiplier: float, sample_rate: float = 1.0, steps: int = 1) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)


def capped(cap: int, noise_multiplier: float = 1.0, steps: int = 1000) -> CappedGaussian:
    return CappedGaussian(
        noise_multiplier=noise_multiplier, sample_rate=SAMPLE_RATE, population=6040, cap=cap, steps=steps
    )


def stream(noise_multiplier: float, name: str, steps: int = 1) -> CorrelatedGaussian:
    return CorrelatedGaussian(noise_multiplier=noise_multiplier, stream=name, steps=steps)


def discrete(kind: str, std: float, shares: int = 10, scale: float = 30.0) -> DiscreteSum:
    """Discrete noise of ``std`` sensitivities, on integers of ``scale`` to one."""
    variance = (std * scale) ** 2 / shares
    return DiscreteSum(kind=kind, shares=shares, variance=variance, l2=scale, l1=scale * 8, dimension=64)


# --- the reference figures ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sample_rate", "noise_multiplier", "steps", "delta", "replaced"),
    [
        (0.01, 1.0, 1000, 1e-6, 3.214),
        pytest.param(0.01, 1.0, 1000, 1e-5, 2.843, marks=pytest.mark.slow),
        pytest.param(0.01, 0.6, 1000, 1e-6, 10.075, marks=pytest.mark.slow),
        (0.1, 2.0, 200, 1e-5, 6.536),
        pytest.param(0.05, 1.0, 500, 1e-6, 13.379, marks=pytest.mark.slow),
        pytest.param(0.001, 0.8, 5000, 1e-6, 0.941, marks=pytest.mark.slow),
        (1.0, 10.0, 100, 1e-5, 9.997),
    ],
)
def test_replacing_a_unit_costs_what_the_published_comparison_says(
    sample_rate: float, noise_multiplier: float, steps: int, delta: float, replaced: float
) -> None:
    events = [sampled(noise_multiplier, sample_rate, steps)]
    found = epsilon_pld(events, delta, LIVE_INTERVAL / 2, "replace-one")
    assert found == pytest.approx(replaced, rel=0.005)
    assert epsilon_pld(events, delta, LIVE_INTERVAL) < found <= epsilon_rdp(events, delta, "replace-one")


@pytest.mark.parametrize(
    ("event", "adjacency", "published"),
    [
        (sampled(1.0, SAMPLE_RATE, 1000), "add-or-remove-one", 3.17),
        (sampled(1.0, SAMPLE_RATE, 1000), "replace-one", 5.02),
        (capped(130), "add-or-remove-one", 4.88),
        (sampled(1.0, 1.0, 17), "add-or-remove-one", 25.4),
    ],
)
def test_a_hundred_of_6040_users_cost_what_each_way_of_drawing_them_is_known_to(
    event: Event, adjacency: Adjacency, published: float
) -> None:
    assert epsilon_pld([event], 1e-5, LIVE_INTERVAL, adjacency) == pytest.approx(published, rel=0.005)


# --- what is the same ---------------------------------------------------------------------------------------------
def test_zero_out_is_add_or_remove_one() -> None:
    events = [sampled(1.5, 0.1, 30), stream(9.0, "s"), discrete("skellam", 8.0)]
    assert epsilon_pld(events, 1e-5, COARSE, "zero-out") == epsilon_pld(events, 1e-5, COARSE)


@pytest.mark.parametrize("account", [epsilon_pld, epsilon_rdp])
def test_replacing_one_of_everybody_is_half_the_noise(account: object) -> None:
    replaced = account([sampled(4.0, steps=3), stream(6.0, "s")], 1e-5, adjacency="replace-one")  # type: ignore[operator] # both take it
    assert replaced == pytest.approx(account([sampled(2.0, steps=3), stream(3.0, "s")], 1e-5))  # type: ignore[operator] # both take it


@pytest.mark.parametrize("group", [2, 3, 7])
@pytest.mark.parametrize("account", [epsilon_pld, epsilon_rdp])
def test_a_household_of_everybody_has_its_share_of_the_noise(account: object, group: int) -> None:
    events, shared = (
        [sampled(8.0, steps=3), stream(9.0, "s")],
        [sampled(8.0 / group, steps=3), stream(9.0 / group, "s")],
    )
    assert account(events, 1e-5, group=group) == pytest.approx(account(shared, 1e-5))  # type: ignore[operator] # both take it


def test_a_stream_is_counted_once_however_often_it_is_charged() -> None:
    once = epsilon_pld([stream(3.0, "a")], 1e-5)
    assert epsilon_pld([stream(3.0, "a")] * 50, 1e-5) == epsilon_pld([stream(3.0, "a", 50)], 1e-5) == once
    assert once == epsilon_pld([sampled(3.0)], 1e-5)


def test_two_streams_compose() -> None:
    both = [stream(3.0, "a", 20), stream(3.0, "b", 5)]
    assert epsilon_pld(both, 1e-5) == pytest.approx(epsilon_pld([sampled(3.0, steps=2)], 1e-5))
    assert epsilon_rdp(both, 1e-5) == pytest.approx(epsilon_rdp([sampled(3.0, steps=2)], 1e-5))


@pytest.mark.parametrize("cap", [6039, 6040, 10_000])
def test_a_cap_that_is_never_reached_costs_nothing(cap: int) -> None:
    events = [capped(cap, steps=50)]
    assert epsilon_pld(events, 1e-5, COARSE) == pytest.approx(
        epsilon_pld([sampled(1.0, SAMPLE_RATE, 50)], 1e-5, COARSE)
    )


# --- what is more -------------------------------------------------------------------------------------------------
def test_a_tighter_cap_never_costs_less() -> None:
    costs = [epsilon_pld([capped(cap)], 1e-5, COARSE) for cap in (6040, 140, 120)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


@pytest.mark.parametrize("adjacency", ["add-or-remove-one", "replace-one"])
def test_a_cap_on_everybody_costs_more_than_the_sample_that_it_amounts_to(adjacency: Adjacency) -> None:
    half = CappedGaussian(noise_multiplier=4.0, sample_rate=1.0, population=100, cap=50, steps=5)
    found = epsilon_pld([half], 1e-5, COARSE, adjacency)
    assert epsilon_pld([sampled(4.0, 0.5, 5)], 1e-5, COARSE, adjacency) < found
    assert found <= epsilon_rdp([half], 1e-5, adjacency) + 2 * COARSE < math.inf


def test_a_larger_household_costs_more_and_less_than_if_cohorts_were_known() -> None:
    events = [sampled(2.0, 0.05, 100)]
    costs = [epsilon_pld(events, 1e-5, COARSE, group=group) for group in (1, 2, 4)]
    assert costs[0] < costs[1] < costs[2] < epsilon_pld([sampled(0.5, steps=100)], 1e-5)
    assert costs[1] > 2 * costs[0] * 0.9


def test_households_that_may_be_replaced_are_bounded_without_amplification() -> None:
    found = epsilon_pld([sampled(9.0, 0.1, 5)], 1e-5, adjacency="replace-one", group=2)
    assert found == pytest.approx(epsilon_pld([sampled(9.0 / 4, steps=5)], 1e-5))


# --- discrete noise -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["skellam", "discrete-gaussian"])
def test_discrete_noise_tends_to_the_gaussian_as_its_grid_gets_finer(kind: str) -> None:
    gaussian = epsilon_rdp([sampled(5.0)], 1e-5)
    costs = [epsilon_pld([discrete(kind, 5.0, scale=scale)], 1e-5) for scale in (2.0, 10.0, 100.0, 1000.0)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(gaussian, rel=0.02)  # Skellam's bound is proven for whole orders alone
    assert min(costs) >= gaussian * (1 - 1e-9)


def test_discrete_noise_beside_sampled_rounds_takes_the_lesser_of_two_bounds() -> None:
    rounds, noise = sampled(1.0, 0.02, 300), discrete("skellam", 9.0)
    found = epsilon_pld([rounds, noise], 1e-6, COARSE)
    halves = epsilon_pld([rounds], 5e-7, COARSE) + epsilon_rdp([noise], 5e-7)
    assert found <= min(epsilon_rdp([rounds, noise], 1e-6), halves)
    assert found > max(epsilon_pld([rounds], 1e-6, COARSE), epsilon_pld([noise], 1e-6))


def test_replaced_integers_are_twice_as_sensitive() -> None:
    noise = discrete("discrete-gaussian", 5.0)
    doubled = replace(noise, l2=2 * noise.l2, l1=2 * noise.l1)
    assert epsilon_pld([noise], 1e-5, adjacency="replace-one") == pytest.approx(epsilon_pld([doubled], 1e-5))


@pytest.mark.parametrize(
    "silent",
    [
        UnknownEvent(kind="of-the-future"),
        replace(discrete("skellam", 5.0), variance=0.0),
        replace(discrete("discrete-gaussian", 5.0), variance=0.2),  # below what the bound on sums is proven for
        DiscreteSum(kind="laplace", shares=1, variance=9.0, l2=1.0, l1=1.0, dimension=1),
        stream(0.0, "s"),
        replace(capped(130), noise_multiplier=0.0),
    ],
)
def test_what_has_no_noise_or_no_proof_costs_infinity(silent: Event) -> None:
    for adjacency in ("add-or-remove-one", "replace-one"):
        assert epsilon_pld([sampled(9.0), silent], 1e-5, adjacency=adjacency) == math.inf  # type: ignore[arg-type] # two words
        assert epsilon_rdp([sampled(9.0), silent], 1e-5, adjacency) == math.inf  # type: ignore[arg-type] # two words


@pytest.mark.parametrize(
    "senseless",
    [
        replace(discrete("skellam", 5.0), shares=0),
        replace(discrete("skellam", 5.0), variance=-1.0),
        replace(discrete("skellam", 5.0), l2=math.nan),
        replace(capped(130), cap=0),
        replace(capped(130), sample_rate=1.5),
        stream(-1.0, "s"),
        stream(1.0, "s", -1),
    ],
)
def test_an_event_of_any_kind_that_makes_no_sense_is_refused(senseless: Event) -> None:
    for account in (epsilon_pld, epsilon_rdp):
        with pytest.raises(ValueError, match="an event needs"):
            account([senseless], 1e-5)


# --- properties ---------------------------------------------------------------------------------------------------
noises = st.floats(0.8, 12.0)
kinds = st.one_of(
    st.builds(sampled, noises, st.one_of(st.floats(0.001, 0.9), st.just(1.0)), st.integers(1, 60)),
    st.builds(capped, st.integers(90, 200), noises, st.integers(1, 60)),
    st.builds(stream, noises, st.sampled_from(["a", "b"]), st.integers(1, 9)),
    st.builds(discrete, st.sampled_from(["skellam", "discrete-gaussian"]), st.floats(3.0, 20.0), st.integers(1, 40)),
)
event_lists = st.lists(kinds, min_size=1, max_size=4)
adjacencies = st.sampled_from(["add-or-remove-one", "zero-out", "replace-one"])
deltas = st.sampled_from([1e-3, 1e-5, 1e-8])


def _pld_is_never_above_rdp(events: list[Event], delta: float, adjacency: Adjacency) -> None:
    bound = epsilon_rdp(events, delta, adjacency)
    assert epsilon_pld(events, delta, COARSE, adjacency) <= bound * (1 + 1e-6) + 2 * COARSE  # what the grid adds


@settings(max_examples=12)
@given(event_lists, deltas, adjacencies)
def test_the_distribution_never_costs_more_than_renyi_dp(
    events: list[Event], delta: float, adjacency: Adjacency
) -> None:
    _pld_is_never_above_rdp(events, delta, adjacency)


@pytest.mark.slow
@settings(max_examples=200)
@given(event_lists, deltas, adjacencies)
def test_the_distribution_never_costs_more_than_renyi_dp_on_200_lists(
    events: list[Event], delta: float, adjacency: Adjacency
) -> None:
    _pld_is_never_above_rdp(events, delta, adjacency)


@settings(max_examples=5)
@given(event_lists, deltas, adjacencies, st.randoms())
def test_neither_order_nor_parts_matter(
    events: list[Event], delta: float, adjacency: Adjacency, random: object
) -> None:
    parts = [replace(event, steps=1) for event in events for _ in range(event.steps)]
    random.shuffle(parts)  # type: ignore[attr-defined] # hypothesis gives a Random
    assert epsilon_pld(parts, delta, COARSE, adjacency) == pytest.approx(
        epsilon_pld(events, delta, COARSE, adjacency), rel=1e-9
    )


def test_an_accountant_of_many_kinds_says_what_one_that_is_asked_once_says() -> None:
    accountant, events = PldAccountant(COARSE), []
    for number in range(6):
        events += [sampled(3.0 + number / 10, 0.1), sampled(3.0 + number / 10, 0.1)]
        grown = accountant.epsilon(grouped(events), 1e-5)
    assert grown == pytest.approx(epsilon_pld(events, 1e-5, COARSE), rel=1e-9)


@pytest.mark.parametrize("asked", [without_sampling, log_moment, loss_range, partial(distribution_of, interval=COARSE)])
def test_an_event_without_a_sampled_gaussian_has_no_figure_of_one(asked: Callable[[Event, Neighbours], object]) -> None:
    assert asked(sampled(1.0, 0.1), Neighbours()) is not None
    with pytest.raises(ValueError, match="laplace"):
        asked(UnknownEvent(kind="laplace"), Neighbours())


def test_what_rests_is_composed_once_and_gives_the_same_epsilon() -> None:
    events = [sampled(2.0 + number, 0.5) for number in range(KEPT_GROWING + 2)]
    kept = PldAccountant(COARSE)
    counts: dict[Event, int] = dict.fromkeys(events, 1)
    for steps in (1, 2, 3):
        counts[events[-1]] = steps
        assert kept.epsilon(counts, 1e-5) == pytest.approx(PldAccountant(COARSE).epsilon(counts, 1e-5), abs=COARSE)
    assert len(kept._settled) < 3  # the events that rest were not composed anew for each question
