import pytest
from dp_accounting import get_epsilon_gaussian

from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, PldAccountant, epsilon_pld, epsilon_rdp, grouped
from fedrec.privacy.accounting.profile import DELTAS, Profile, profile
from fedrec.privacy.events import SampledGaussian

EVENTS = [
    SampledGaussian(noise_multiplier=5.0, sample_rate=1.0),
    SampledGaussian(noise_multiplier=2.0, sample_rate=0.1, steps=30),
]


@pytest.fixture(scope="module")
def seen() -> Profile:
    """All sides of the events, which take a while."""
    return profile(EVENTS, 1e-5)


def test_the_declared_figure_is_that_of_the_accountants(seen: Profile) -> None:
    assert (seen.epsilon, seen.epsilon_rdp) == (epsilon_pld(EVENTS, 1e-5), epsilon_rdp(EVENTS, 1e-5))


def test_a_smaller_delta_costs_more_epsilon(seen: Profile) -> None:
    epsilons = [seen.at[delta] for delta in DELTAS]
    assert epsilons == sorted(epsilons)
    assert epsilons[0] == pytest.approx(seen.epsilon)


def test_a_replaced_unit_and_a_household_cost_more(seen: Profile) -> None:
    replaced = profile(EVENTS, 1e-5, "replace-one", groups=())
    assert replaced.epsilon == epsilon_pld(EVENTS, 1e-5, adjacency="replace-one")
    assert seen.replaced == pytest.approx(replaced.epsilon, rel=1e-3)
    assert seen.epsilon < seen.groups[2] < seen.groups[4]
    assert (replaced.adjacency, replaced.epsilon_prv) == ("replace-one", None)


def test_groups_of_users_whom_nothing_hides_have_a_closed_form() -> None:
    events = [SampledGaussian(noise_multiplier=10.0, sample_rate=1.0, steps=100)]  # worth one of noise multiplier 1
    found = profile(events, 1e-6, groups=(2, 4), third_opinion=False).groups
    assert found == pytest.approx({size: get_epsilon_gaussian(1 / size, 1e-6) for size in (2, 4)})


def test_the_coarse_grid_of_groups_errs_upwards_and_little(seen: Profile) -> None:
    for size, epsilon in seen.groups.items():
        fine = PldAccountant(LIVE_INTERVAL, "add-or-remove-one", size).epsilon(grouped(EVENTS), 1e-5)
        assert fine - 1e-6 <= epsilon <= 1.02 * fine


def test_three_accountants_agree(seen: Profile) -> None:
    assert seen.epsilon_prv is not None
    assert seen.epsilon_prv - 0.02 <= seen.epsilon <= seen.epsilon_prv <= seen.epsilon_rdp
    assert profile(EVENTS, 1e-5, groups=(), third_opinion=False).epsilon_prv is None


def test_the_curve_falls_and_passes_through_the_declared_point(seen: Profile) -> None:
    curve = seen.curve
    assert [epsilon for epsilon, _ in curve] == sorted(epsilon for epsilon, _ in curve)
    assert {delta: epsilon for epsilon, delta in curve}[1e-5] == pytest.approx(epsilon_pld(EVENTS, 1e-5))


def test_only_gaussian_releases_have_rho_and_mu(seen: Profile) -> None:
    gaussian = profile(EVENTS[:1], 1e-5, groups=(), third_opinion=False)
    assert (seen.rho, seen.mu) == (None, None)
    assert (gaussian.rho, gaussian.mu) == (pytest.approx(1 / 50), pytest.approx(1 / 5))


def test_an_adversary_who_knows_every_cohort_learns_more(seen: Profile) -> None:
    alone = [
        SampledGaussian(noise_multiplier=5.0, sample_rate=1.0),
        SampledGaussian(noise_multiplier=2.0, sample_rate=1.0, steps=30),
    ]
    assert seen.without_amplification == epsilon_pld(alone, 1e-5) > seen.epsilon
