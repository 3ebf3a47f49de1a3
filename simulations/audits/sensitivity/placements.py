"""Each place of the noise, with the noise taken out, under the sensitivity fuzz.

From users' updates through ``device_part`` on nodes and ``release`` at the server. Sources of noise are handed in:
Gaussians are zeros; coins of rounding, and discrete noise, are the same in both cohorts, so that they cancel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from fedrec.models.split import SharedState
from fedrec.privacy import release as noise
from fedrec.privacy.mechanism import Mechanism, NoiseKind, Placement
from fedrec.privacy.noise.fixed_point import fixed_point_for
from fedrec.privacy.noise.source import KEY_BYTES, NoiseSource
from simulations.audits.sensitivity.cases import draw_case
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Bounds, Case, Sum
from simulations.audits.sensitivity.people import Person
from simulations.audits.sensitivity.training import Training

POPULATION = 20
LEAST_USERS = 2
"""Users whose shares of distributed noise make up the whole."""

NODE_USERS = 2
"""Users of one node."""

NOISE_MULTIPLIER = 2.0


class Silent(NoiseSource):
    """A source without noise: zeros for Gaussians, and coins that do not depend on what was drawn before.

    Discrete noise is what its constant key gives, the same wherever as much of it is asked for.
    """

    def __init__(self) -> None:
        super().__init__(bytes(KEY_BYTES), "nothing, for an audit")

    def gaussian(self, shape: tuple[int, ...]) -> Tensor:
        """Return zeros, float64."""
        return torch.zeros(shape, dtype=torch.float64)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Return the same numbers in [0, 1) for the same shape."""
        return torch.from_numpy(np.random.default_rng(prod(shape)).random(prod(shape))).reshape(shape)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A round of training of which nodes send their parts and the server releases the sum. A ``Pipeline``."""

    training: Training
    placement: Placement
    noise: NoiseKind = "gaussian"
    kinds: tuple[str, ...] = ("busy", "avid", "faithful", "nothing", "once")
    endless: bool = False

    @property
    def words(self) -> str:
        """The model, and where which noise would be added."""
        return f"{self.training.words}, {self.noise} noise being {self.placement}"

    @property
    def num_items(self) -> int:
        """Items of the catalogue."""
        return self.training.num_items

    @property
    def mechanism(self) -> Mechanism:
        """How the sum is released, with the encoding of integers that is planned for this model."""
        central, clip_norm = self.placement == "central", self.training.clip_norm
        least = LEAST_USERS if self.placement == "distributed" else 1
        encoding = None
        if self.noise != "gaussian":
            encoding = fixed_point_for(
                placement=self.placement,
                noise=self.noise,
                clip_norm=clip_norm,
                noise_multiplier=NOISE_MULTIPLIER,
                dimension=sum(value.numel() for value in self.training.sum_of(()).values()),
                users=POPULATION,
                minimum_users=least,
                bits=31,
            )
        return Mechanism(
            clip_norm=clip_norm,
            noise_multiplier=NOISE_MULTIPLIER,
            sample_rate=0.5,
            population=POPULATION,
            placement=self.placement,
            noise=self.noise,
            amplified=central and self.noise == "gaussian",
            minimum_users=least,
            fixed_point=encoding,
        )

    @property
    def bounds(self) -> Bounds:
        """The clip norm, or what the encoding of integers is accounted for."""
        encoding = self.mechanism.fixed_point
        return Bounds(whole=encoding.norm_bound / encoding.scale if encoding else self.training.clip_norm)

    def sum_of(self, people: Sequence[Person]) -> Sum:
        """Return the released mean of the people's updates times the public divisor, which is their sum."""
        mechanism = self.mechanism
        exact = torch.int64 if self.placement == "distributed" else torch.float64
        total = {name: torch.zeros(v.shape, dtype=exact) for name, v in self.training.sum_of(()).items()}
        for first in range(0, len(people), NODE_USERS):
            own = people[first : first + NODE_USERS]
            for name, value in noise.device_part(self._parts(own), len(own), mechanism, Silent()).items():
                total[name] += value
        if self.placement != "distributed":
            total = {name: value.float() for name, value in total.items()}
        mean = noise.release(SharedState(total), mechanism, Silent())
        return {name: value.double() * (mechanism.sample_rate * POPULATION) for name, value in mean.items()}

    def _parts(self, people: Sequence[Person]) -> Iterator[SharedState]:
        """Yield what a node adds up: one user at a time where each is masked alone."""
        alone = [[one] for one in people] if self.placement == "distributed" else [people]
        for part in alone:
            yield SharedState(dict(self.training.sum_of(part)))


def placements(training: Training, *, quick: bool = False) -> tuple[Placed, ...]:
    """Return a training under every place and kind of noise; ``quick``: where devices add it."""
    some = (
        Placed(training=training, placement="device"),
        Placed(training=training, placement="distributed", noise="discrete-gaussian"),
    )
    if quick:
        return some
    return (
        *some,
        Placed(training=training, placement="central"),
        Placed(training=training, placement="central", noise="skellam"),
        Placed(training=training, placement="distributed", noise="skellam"),
        Placed(training=training, placement="central", noise="discrete-gaussian"),
    )


def draw_placed_case(draw: Draw, placed: Sequence[Placed]) -> Case:
    """Draw a place, a cohort, and whose history is emptied: against the server, users do not come and go."""
    one = draw.one_of(placed)
    one = replace(one, training=replace(one.training, seed=draw.integer(0, 3)))
    return draw_case(draw, one, ways=("emptied",))
