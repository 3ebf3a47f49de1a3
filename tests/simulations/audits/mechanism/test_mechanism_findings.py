"""The audit of noise, odd users and single releases: nothing is found in the production, and what is broken is."""

import itertools

import numpy as np
import pytest
import torch

from fedrec.audit.findings import Bound, Check, Level
from fedrec.config import parse_scenario
from fedrec.flower.state import Randomness
from fedrec.models.split import SharedState
from fedrec.privacy.correlation.participation import correlation_for
from fedrec.privacy.correlation.stream import correlated_noise
from fedrec.privacy.mechanism import FixedPoint, Mechanism
from fedrec.privacy.noise.source import noise_generator
from fedrec.rounds import Contribution
from simulations.audits.mechanism import mechanism_checks, mechanism_findings
from simulations.audits.mechanism.draws import devices_of, residuals, shortened, whitening
from simulations.audits.mechanism.node import Bench, canary, norm_of
from simulations.audits.mechanism.told_apart import told_apart
from simulations.audits.probe import probe_of

QUICK = ((),)
PLACEMENTS = (
    *QUICK,
    ("privacy.placement=device",),
    ("privacy.correlation=tree",),
    ("privacy.noise=discrete-gaussian",),
    ("privacy.placement=distributed", "privacy.noise=skellam"),
    ("privacy.correlation=banded",),
    ("privacy.clipping=adaptive",),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "settings",
    [*QUICK, *(pytest.param(other, marks=pytest.mark.slow) for other in PLACEMENTS[len(QUICK) :])],
    ids=" ".join,
)
def test_nothing_is_found_in_the_production(settings):
    findings = mechanism_findings(parse_scenario({}, settings), seed=1, quick=True)
    names = {check.name for check in findings.checks}
    assert {"noise-variance", "noise-rows", "noise-across-rounds", "noise-shape", "node-bound"} <= names
    assert not findings.violations
    assert not [check.name for check in findings.checks if check.verdict != "passed"]
    assert all(check.level is Level.MECHANISM for check in findings.checks)
    on_devices = {"privacy.placement=device", "privacy.placement=distributed"} & set(settings)
    assert ("device-noise-variance" in names) == bool(on_devices)


@pytest.mark.parametrize("settings", [(), ("privacy.correlation=tree",)], ids=" ".join)
def test_the_mechanisms_of_a_run_are_looked_at_as_its_ledger_has_them(settings):
    scenario = parse_scenario({}, settings)
    correlation = correlation_for("tree", 40, 4) if settings else None
    own = Mechanism(
        clip_norm=0.3,
        noise_multiplier=2.5,
        sample_rate=0.25,
        population=943,
        amplified=not settings,
        correlation=correlation,
    )
    findings = mechanism_findings(scenario, mechanisms=(own, own), seed=2, quick=True)
    assert not findings.violations


def test_a_scenario_without_privacy_has_nothing_to_audit():
    (check,) = mechanism_checks(parse_scenario({}, ["privacy.enabled=false"]), seed=1, quick=True)
    assert isinstance(check, Check)
    assert check.verdict == "not run"
    assert "claimed" in check.found


def test_other_settings_are_audited_on_the_path_that_they_take():
    settings = (
        "training.local.loss=bpr",
        "training.local.steps=3",
        "federation.codec.name=int8",
        "privacy.clipping=rows",
    )
    findings = mechanism_findings(parse_scenario({}, settings), seed=1, quick=True)
    assert not findings.violations


def test_residuals_are_the_noise_alone_whatever_the_sum(tmp_path):
    mechanism = Mechanism(clip_norm=2.0, noise_multiplier=0.5, sample_rate=0.5, population=100)
    shapes = {"table": (64, 8), "bias": (5,)}
    found = residuals(parse_scenario({}, []), mechanism, Randomness(cohort_seed=0, noise_seed=3), shapes, 4, tmp_path)
    source = noise_generator(3).derived(2)
    expected = {name: mechanism.noise_std * source.gaussian(shapes[name]).numpy() for name in sorted(shapes)}
    assert found.stds == {"table": 1.0, "bias": 1.0}
    for name, numbers in found.noise.items():
        assert numbers.shape == (4, *shapes[name])
        np.testing.assert_allclose(numbers[1], expected[name], atol=1e-5)


@pytest.mark.parametrize("strategy", ["tree", "banded"])
@pytest.mark.parametrize("rounds", [1, 2, 7, 8])
def test_whitening_gives_back_independent_noise_of_the_stream(strategy, rounds):
    correlation = correlation_for(strategy, rounds, min(3, rounds))
    stream = correlated_noise(correlation, noise_generator(1), {"x": (20_000,)})
    rows = np.stack([stream.take(round)["x"].numpy() for round in range(1, rounds + 1)])
    white = whitening(correlation) @ rows
    np.testing.assert_allclose(white @ white.T / white.shape[1], np.eye(rounds), atol=0.05)


def test_a_stream_is_shortened_to_the_rounds_that_are_looked_at():
    mechanism = Mechanism(
        clip_norm=1.0,
        noise_multiplier=1.0,
        sample_rate=0.25,
        population=40,
        amplified=False,
        correlation=correlation_for("banded", 500, 4),
    )
    short = shortened(mechanism, 8).correlation
    assert short is not None
    assert (short.rounds, short.separation, short.participations) == (8, 4, 2)


def test_the_shares_of_as_many_devices_as_are_needed_make_up_the_noise():
    for users in range(1, 9):
        fixed_point = FixedPoint(scale=10.0, bits=24, dimension=10, norm_bound=20.0)
        mechanism = Mechanism(
            clip_norm=1.0,
            noise_multiplier=1.0,
            sample_rate=1.0,
            population=10,
            placement="distributed",
            noise="skellam",
            amplified=False,
            minimum_users=users,
            fixed_point=fixed_point,
        )
        assert sum(devices_of(mechanism)) == users


# --- single releases ----------------------------------------------------------------------------------------------
def test_a_user_of_ten_clip_norms_adds_one_clip_norm(tmp_path):
    scenario = parse_scenario({}, ["privacy.clip_norm=0.4"])
    probe = probe_of(scenario, seed=3)
    mechanism = Mechanism(clip_norm=0.4, noise_multiplier=1.0, sample_rate=0.5, population=12)
    without, inside = canary(Bench(probe=probe, kind=Contribution.UPDATE, mechanism=mechanism, folder=tmp_path))
    moved = SharedState({name: inside[name].double() - without[name].double() for name in inside})
    assert norm_of(moved) == pytest.approx(1.0, abs=1e-5)
    assert norm_of(without) > 0.1


def sums(size: int = 3) -> tuple[SharedState, SharedState]:
    """Return sums that differ by one clip norm."""
    without = SharedState({"x": torch.linspace(-1, 1, size)})
    return without, SharedState({"x": without["x"] + 1 / size**0.5})


def test_a_release_of_the_production_is_told_apart_no_better_than_claimed():
    mechanism = Mechanism(clip_norm=2.0, noise_multiplier=1.0, sample_rate=0.5, population=100)
    found = told_apart(parse_scenario({}, []), mechanism, Randomness(cohort_seed=0, noise_seed=5), sums(), draws=1000)
    (check,) = found.checks
    assert check.verdict == "passed"
    best = max(bound.lower or 0.0 for bound in found.bounds)
    assert all(bound.claimed == pytest.approx(4.377, abs=0.01) for bound in found.bounds)
    assert 2.5 < best < 4.377


@pytest.mark.parametrize("sigma", [0.3, 0.5])
def test_less_noise_than_claimed_is_told_apart(sigma):
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=0.5, population=100)
    without, inside = sums()
    far = SharedState({"x": without["x"] + (inside["x"] - without["x"]) / sigma})  # as if noise were sigma
    source = Randomness(cohort_seed=0, noise_seed=5)
    assert told_apart(parse_scenario({}, []), mechanism, source, (without, far), draws=600).violations


def test_a_replaced_user_is_told_apart_from_one_who_moves_the_other_way():
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=2.0, sample_rate=0.5, population=100)
    scenario = parse_scenario({}, ["privacy.adjacency=replace-one"])
    found = told_apart(scenario, mechanism, Randomness(cohort_seed=0, noise_seed=5), sums(), draws=500)
    assert not found.violations
    assert max(bound.lower or 0.0 for bound in found.bounds) > 2.5


@pytest.mark.parametrize("strategy", ["tree", "banded"])
def test_a_stream_is_told_apart_no_better_than_claimed(strategy):
    correlation = correlation_for(strategy, 4, 2)
    mechanism = Mechanism(
        clip_norm=1.0, noise_multiplier=1.0, sample_rate=0.5, population=40, amplified=False, correlation=correlation
    )
    found = told_apart(
        parse_scenario({}, [f"privacy.correlation={strategy}"]),
        mechanism,
        Randomness(cohort_seed=0, noise_seed=5),
        sums(),
        draws=80,
    )
    assert not found.violations
    assert max(bound.lower or 0.0 for bound in found.bounds) >= 0.0


def test_the_users_rounds_are_the_worst_that_a_banded_stream_allows():
    correlation = correlation_for("banded", 6, 2)
    whitener = whitening(correlation)
    patterns = [p for p in itertools.product([0, 1], repeat=6) if not any(a and b for a, b in itertools.pairwise(p))]
    worst = max(float(np.linalg.norm(whitener @ np.array(pattern))) for pattern in patterns)
    assert worst <= correlation.sensitivity * (1 + 1e-6)


@pytest.mark.slow
def test_bounds_of_twenty_thousand_draws_come_near_the_claim():
    rows = list(mechanism_checks(parse_scenario({}, []), seed=1))
    bounds = [row for row in rows if isinstance(row, Bound)]
    assert not [row for row in rows if isinstance(row, Check) and row.verdict == "violated"]
    assert max(bound.lower or 0.0 for bound in bounds) >= 4.0
    assert all(bound.draws == 20_000 for bound in bounds)


@pytest.mark.slow
@pytest.mark.parametrize("settings", PLACEMENTS, ids=" ".join)
def test_a_hundred_seeds_find_nothing_in_the_production(settings):
    found = [mechanism_findings(parse_scenario({}, settings), seed=seed, quick=True) for seed in range(100)]
    assert not [check for findings in found for check in findings.violations]
