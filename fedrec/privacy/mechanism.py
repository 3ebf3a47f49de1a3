"""The Gaussian mechanism of one release: sampling, clip, noise and their event in one frozen object."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SampledGaussian:
    """The fact that accounting judges: a Poisson-sampled Gaussian release, ``steps`` times.

    ``noise_multiplier``: noise standard deviation over L2 sensitivity. ``sample_rate``: probability of each unit.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class GaussianMechanism:
    """Clip each user's contribution, sum, add Gaussian noise once, divide by the public expected cohort.

    Unit: user (all of one user's data). Adjacency: add/remove one user, or zero-out for a fixed roster; the sum's L2
    sensitivity is ``clip_norm`` under both. ``population`` is the public size of the frozen roster; ``sample_rate``
    the probability with which each of its users takes part, independently of all else (Poisson).
    """

    clip_norm: float
    noise_multiplier: float
    sample_rate: float
    population: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip_norm) and self.clip_norm > 0):
            raise ValueError(f"clip_norm must be positive, got {self.clip_norm}")
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise ValueError(f"noise_multiplier must be positive, got {self.noise_multiplier}")
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate must be in (0, 1], got {self.sample_rate}")
        if self.population < 1:
            raise ValueError(f"population must be at least 1, got {self.population}")

    @property
    def expected_cohort(self) -> float:
        """Public divisor ``q*N`` of the released sum, in users."""
        return self.sample_rate * self.population

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on each coordinate of the sum."""
        return self.noise_multiplier * self.clip_norm

    @property
    def event(self) -> SampledGaussian:
        """What one release spends, known before it runs so that the budget can be asked first."""
        return SampledGaussian(noise_multiplier=self.noise_multiplier, sample_rate=self.sample_rate)
