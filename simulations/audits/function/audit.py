"""The audit of a function: how far one user moves it, whether the user can be told, whether its noise is drawn anew."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedrec.audit.evidence.distinguishing import distinguished
from fedrec.audit.evidence.noise_correlation import across_rounds, across_tensors, along_coordinates
from fedrec.audit.findings import Check, Findings, Level
from fedrec.errors import ConfigError
from simulations.audits.function.crafted import of_updates
from simulations.audits.function.loading import checked_subject
from simulations.audits.function.neighbours import PILOTS, Sight, sights
from simulations.audits.function.sensitivity import sensitivity_check
from simulations.audits.function.subject import Aggregator, Claim, Training
from simulations.audits.function.transcripts import RefusedError, Transcripts

Floats = NDArray[np.float64]

DRAWS = 10_000
"""Runs of all rounds with the worst crafted user, and as many without."""

MOST_USERS = 400
"""Natural users that are made for an aggregator, however many the claim is for."""

ADVERSARY = "sees what all rounds release and knows all other users; chooses one user's data"


def function_findings(
    subject: Aggregator | Training | Callable[..., object], claim: Claim, *, seed: int, draws: int = DRAWS
) -> Findings:
    """Return what an audit finds of somebody's aggregator or training function under a claim.

    ``subject``: as ``load_subject`` returns it. ``draws``: runs of all the claim's rounds with the worst crafted user,
    and as many without; 1000 tell gross mistakes, 10 000 noise that is a sixth too small. Raises ``ConfigError`` if the
    subject cannot be called as ``simulations.audits.function.subject`` says.
    """
    if draws < 50:
        raise ConfigError(f"{draws} draws prove nothing: give at least 50")
    training = _training(checked_subject(subject, "the function"), claim, seed)
    transcripts = Transcripts(training, claim)
    found, refused = sights(transcripts, seed, min(PILOTS, max(16, draws // 20)))
    finite = [sight for sight in found if sight.finite]
    checks = (*sensitivity_check(transcripts, seed), _not_a_number(found), *_noise(transcripts, seed, draws))
    if not finite:
        return Findings(checks=checks, untested=_untested(training, claim, refused))
    worst = max(finite, key=lambda sight: sight.effect)
    inside, outside = _scores(transcripts, worst, seed, draws)
    told = distinguished(
        inside,
        outside,
        delta=claim.delta,
        claimed=claim.epsilon,
        level=Level.MECHANISM,
        of="one round" if claim.rounds == 1 else f"all {claim.rounds} rounds",
        adversary=f"{ADVERSARY} ({worst.name})",
        gaussian=claim.gaussian and claim.sample_rate == 1,
        name="function-distinguishing",
    )
    return Findings(checks=checks, untested=_untested(training, claim, refused)) + told


def _training(subject: Aggregator | Training, claim: Claim, seed: int) -> Training:
    if isinstance(subject, Training):
        return subject
    users = min(claim.population - 1, max(8, math.ceil(8 / claim.sample_rate)), MOST_USERS)
    return of_updates(subject, users, np.random.default_rng([seed, 1]))


def _scores(transcripts: Transcripts, sight: Sight, seed: int, draws: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng([seed, 2, 0])
    rate = 1.0 if transcripts.training.whole else transcripts.claim.sample_rate
    try:
        scores = [
            [sight.score(transcripts.world(sight.name, inside, rng), rate) for _ in range(draws)]
            for inside in (True, False)
        ]
    except RefusedError as error:
        raise ConfigError(f"the function failed on the user it took before ({sight.name}); {error}") from error
    return np.array(scores[0]), np.array(scores[1])


def _not_a_number(found: list[Sight]) -> Check:
    broken = [sight.name for sight in found if not sight.finite]
    return Check(
        level=Level.SENSITIVITY,
        name="function-not-finite",
        asks="Does one user's broken update stay without effect on what is released?",
        verdict="violated" if broken else "passed",
        found=(
            f"No: with {broken[0]} the release is not finite, everybody sees that this user is there."
            if broken
            else "No violation found: what was released was finite."
        ),
        figures={"users": float(len(broken))},
        method="crafted users",
    )


# --- its noise ----------------------------------------------------------------------------------------------------
def _noise(transcripts: Transcripts, seed: int, draws: int) -> tuple[Check, ...]:
    """Test that noise is drawn anew: differences of calls with the same users, each number brought to one size."""
    half = transcripts.affordable(min(48, max(16, draws // 20)))
    name = next(iter(transcripts.training.crafted))
    rngs = [np.random.default_rng([seed, 3, call]) for call in range(2 * half)]
    calls = np.stack([transcripts.world(name, False, rng, always=True) for rng in rngs])
    # Calls far apart, so that noise that comes back soon is in two differences and not gone from one.
    differences = (calls[:half] - calls[half:]).reshape(-1, calls.shape[2])
    sizes = np.sqrt((differences**2).mean(axis=0))
    silent = sizes == 0
    rows = _silent(silent)
    if silent.all():
        return (rows,)
    noise = _by_tensor(differences / np.where(silent, 1, sizes), transcripts, ~silent)
    prefix, level = "function-", Level.MECHANISM
    return (
        rows,
        across_rounds(noise, level, prefix),
        across_tensors(noise, level, prefix),
        along_coordinates(noise, level, prefix),
    )


def _by_tensor(numbers: Floats, transcripts: Transcripts, kept: NDArray[np.bool_]) -> dict[str, Floats]:
    sizes, start = {}, 0
    rounds = transcripts.claim.rounds if transcripts.training.whole else 1
    for name, shape in transcripts.shapes.items():
        stop = start + int(np.prod(shape)) // rounds
        part = numbers[:, start:stop][:, kept[start:stop]]
        if part.size:
            sizes[name] = part
        start = stop
    return sizes


def _silent(silent: NDArray[np.bool_]) -> Check:
    count = int(silent.sum())
    return Check(
        level=Level.MECHANISM,
        name="function-silent-numbers",
        asks="Does every released number change from call to call, as numbers with noise do?",
        verdict="violated" if silent.all() else "warned" if count else "passed",
        found=(
            "No: nothing that is released ever changes, there is no noise."
            if silent.all()
            else f"{count} of {silent.size} released numbers never change: nothing of a user may be in them."
            if count
            else f"No violation found: all {silent.size} do."
        ),
        figures={"silent": float(count), "numbers": float(silent.size)},
        method="calls with the same users",
    )


def _untested(training: Training, claim: Claim, refused: dict[str, str]) -> tuple[str, ...]:
    told = [f"The function was not tried with {name}, which it refuses ({why})." for name, why in refused.items()]
    told.append(f"It was tried with {len(training.users)} natural users, the claim is for {claim.population}.")
    told.append("What it keeps, writes or sends beside what it returns was not looked at.")
    if training.samples and claim.sample_rate < 1:
        told.append("It draws its cohorts itself: their sampling was seen in what is released alone.")
    if claim.sample_rate < 1:
        told.append("With sampling the bounds assume no curve: they tell gross mistakes alone.")
    elif claim.gaussian:
        told.append("That the claim is of Gaussian noise was assumed; of another law, the bound by mu says nothing.")
    return tuple(told)
