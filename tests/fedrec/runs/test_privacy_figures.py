"""What a report states beside the profile: of guesses."""

from scipy.stats import norm

from fedrec.privacy.accounting.profile import profile
from fedrec.privacy.events import CorrelatedGaussian, SampledGaussian
from fedrec.runs.privacy_figures import guess_probability, prv_note

DELTA = 1e-6
PLAIN = [SampledGaussian(noise_multiplier=10.0, sample_rate=1.0, steps=100)]
"""Worth one Gaussian of noise multiplier 1."""
SAMPLED = [SampledGaussian(noise_multiplier=2.0, sample_rate=0.1, steps=20)]


def test_a_guess_is_bounded_by_the_total_variation_of_both_worlds():
    exact = norm.cdf(0.5)  # of two Gaussians one standard deviation apart
    found = guess_probability(PLAIN, "add-or-remove-one")
    assert exact <= found <= exact + 1e-4
    assert 0.5 < guess_probability(SAMPLED, "add-or-remove-one") < found
    assert guess_probability([], "add-or-remove-one") == 0.5
    silent = [SampledGaussian(noise_multiplier=0.0, sample_rate=1.0)]
    assert guess_probability(silent, "add-or-remove-one") == 1.0


def test_the_third_accountant_is_left_out_with_its_reason_where_it_does_not_apply():
    stream = [CorrelatedGaussian(noise_multiplier=2.0, stream="run/training", steps=5)]
    assert "Poisson-sampled" in prv_note(profile(stream, DELTA), stream)
    assert "adding or removing" in prv_note(profile(PLAIN, DELTA, "replace-one"), PLAIN)
    assert "estimate" in prv_note(profile(SAMPLED, DELTA), SAMPLED)
