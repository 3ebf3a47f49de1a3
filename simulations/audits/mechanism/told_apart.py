"""Whether outputs with one user can be told from outputs without it, better than a single release's epsilon allows."""

import numpy as np
import torch

from fedrec.audit.evidence.distinguishing import distinguished
from fedrec.audit.findings import Findings, Level
from fedrec.config import Scenario
from fedrec.flower.state import Randomness
from fedrec.models.split import SharedState
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.adaptive_clipping import WITHIN
from fedrec.privacy.correlation.stream import correlated_noise
from fedrec.privacy.events import unamplified
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.planning.run import guarantee_of
from fedrec.privacy.release import device_part, release
from simulations.audits.mechanism.draws import Floats, whitening

ADVERSARY = {
    "central": "sees the released mean, chooses one user's update and knows all others'",
    "device": "sees one device's message, and chooses between two updates of its user",
    "distributed": "sees the sum over as few devices as are allowed, and chooses one user's update",
}


def told_apart(
    scenario: Scenario,
    mechanism: Mechanism,
    randomness: Randomness,
    sums: tuple[SharedState, SharedState],
    draws: int,
    prefix: str = "",
) -> Findings:
    """Return lower bounds on a release's epsilon, from ``draws`` outputs with a user and as many without.

    ``sums``: without and with the user, in clip norms. A stream of correlated noise is told apart as a whole, with the
    user in as many rounds as it may be in. The claim is that of a release whose cohort is known: without amplification.
    """
    plain, inside_sum = (_joined(state, mechanism.clip_norm) for state in sums)
    moved = {name: value - plain[name] for name, value in inside_sum.items()}
    if guarantee_of(scenario.privacy).adjacency == "replace-one":  # by one that moves the other way
        plain = SharedState({name: plain[name] - moved[name] for name in plain})
        moved = {name: 2 * value for name, value in moved.items()}
    draw = (
        _Stream(mechanism, randomness, plain, moved)
        if mechanism.correlation
        else _Single(mechanism, randomness, plain, moved)
    )
    outside, inside = (np.array([draw.score(number, there) for number in range(draws)]) for there in (False, True))
    delta = scenario.privacy.delta_for(mechanism.population)
    claimed = epsilon_pld([unamplified(mechanism.event)], delta, adjacency=guarantee_of(scenario.privacy).adjacency)
    return distinguished(
        inside,
        outside,
        delta=delta,
        claimed=claimed,
        level=Level.MECHANISM,
        of="one stream of correlated noise" if mechanism.correlation else "one release",
        adversary=ADVERSARY[mechanism.placement],
        gaussian=mechanism.noise == "gaussian",
        name=f"{prefix}release-told-apart",
    )


def _joined(state: SharedState, clip_norm: float) -> SharedState:
    """Return all parameters as one tensor, for each of thousands of draws; a count beside them stays apart."""
    parameters = [state[name].double().flatten() for name in sorted(state) if name != WITHIN]
    return SharedState(
        {"parameters": clip_norm * torch.cat(parameters)} | {n: v.double() for n, v in state.items() if n == WITHIN}
    )


class _Single:
    """One release. Scores are log-likelihood ratios of Gaussian noise, less what does not depend on the output."""

    def __init__(
        self, mechanism: Mechanism, randomness: Randomness, plain: SharedState, moved: dict[str, torch.Tensor]
    ) -> None:
        self._mechanism, self._randomness = mechanism, randomness
        self._plain, self._moved = plain, moved
        self._drawn = 0
        self._weights = {
            name: value / (mechanism.count_noise or 1.0 if name == WITHIN else mechanism.noise_std) ** 2
            for name, value in moved.items()
        }
        if mechanism.placement != "central":  # the others' part is known, and taken away
            self._plain = SharedState({name: torch.zeros_like(value) for name, value in plain.items()})

    def score(self, number: int, inside: bool) -> float:
        """Return how much an output looks as if the user were in it."""
        self._drawn += 1
        total = SharedState(
            {n: (v + self._moved[n] if inside else v).to(torch.float32) for n, v in self._plain.items()}
        )
        mean = release(self._sent(total), self._mechanism, self._randomness.noise(self._drawn))
        cohort = self._mechanism.expected_cohort
        return float(
            sum((weight * (mean[n].double() * cohort - self._plain[n])).sum() for n, weight in self._weights.items())
        )

    def _sent(self, total: SharedState) -> SharedState:
        mechanism = self._mechanism
        if mechanism.placement == "central":
            return total
        users = mechanism.minimum_users if mechanism.placement == "distributed" else 1
        return device_part([total], users, mechanism, noise_generator(None))


class _Stream:
    """All rounds of a stream, with the user in every round that its contract allows, from the first."""

    def __init__(
        self, mechanism: Mechanism, randomness: Randomness, plain: SharedState, moved: dict[str, torch.Tensor]
    ) -> None:
        correlation = mechanism.correlation
        assert correlation is not None  # for the type checker: the caller asked
        self._mechanism, self._randomness, self._correlation = mechanism, randomness, correlation
        self._norm = float(torch.stack([value.square().sum() for value in moved.values()]).sum().sqrt())
        self._whitener = whitening(correlation)
        turns = np.arange(0, correlation.rounds, correlation.separation)[: correlation.participations]
        self._takes = np.zeros(correlation.rounds)
        self._takes[turns] = 1.0
        self._expected: Floats = self._whitener @ self._takes

    def score(self, number: int, inside: bool) -> float:
        """Return how much a stream's rounds look as if the user were in them, along its one direction."""
        stream = correlated_noise(
            self._correlation, self._randomness.stream().derived(number, int(inside)), {"x": (1,)}
        )
        rows = []
        for round in range(1, self._correlation.rounds + 1):
            there = self._norm * self._takes[round - 1] if inside else 0.0
            total = SharedState({"x": torch.tensor([there], dtype=torch.float64)})
            mean = release(total, self._mechanism, self._randomness.noise(round), stream.take(round))
            rows.append(float(mean["x"]) * self._mechanism.expected_cohort)
        return float(self._expected @ (self._whitener @ np.array(rows)))
