"""How far one user moves a function with its noise off, over crafted and natural users and cohorts of many sizes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fedrec.audit.findings import Check, Level
from fedrec.errors import ConfigError
from simulations.audits.function.subject import Training
from simulations.audits.function.transcripts import RefusedError, Transcripts

COHORTS = 8
"""Cohorts that are drawn at random, beside the whole one and the empty one."""

ROUNDING = 1e-4
"""Share by which a change may be above the bound: float32 sums."""

ASKS = "Does one user change the release, noise off, by no more than the noise is calibrated to?"


def sensitivity_check(transcripts: Transcripts, seed: int) -> tuple[Check]:
    """Return whether any neighbour that was tried changes the release without noise by more than is declared."""
    training = transcripts.training
    if training.without_noise is None or training.sensitivity is None:
        why = "noise cannot be switched off, or the function does not say what its noise is calibrated to"
        return (_check("not run", f"Not tested: {why} (without_noise, sensitivity).", {}),)
    largest, whose, tried = 0.0, "", 0
    for name, inside, outside in _pairs(training, np.random.default_rng([seed, 4])):
        try:
            change = [transcripts.without_noise(users, np.random.default_rng([seed, 5])) for users in (inside, outside)]
        except RefusedError:
            continue  # told of where the function is called with its noise
        tried += 1
        if change[0].shape != change[1].shape:
            raise ConfigError("what the function returns without noise has shapes that hang on the users")
        moved = float(np.linalg.norm(change[0] - change[1]))
        moved = np.inf if np.isnan(moved) else moved
        if moved > largest or not whose:
            largest, whose = moved, name
    if not tried:
        return (_check("not run", "Not tested: without noise, the function takes none of the users.", {}),)
    bound = training.sensitivity
    figures = {"largest": largest if np.isfinite(largest) else None, "bound": bound, "pairs": float(tried)}
    told = f"{whose} changes it by {largest:.4g}, {bound:.4g} is what the noise is calibrated to"
    if largest > bound * (1 + ROUNDING):
        return (_check("violated", f"No: {told} ({largest / bound:.1f} times).", figures),)
    return (_check("passed", f"No violation found in {tried} pairs: at most, {told}.", figures),)


def _pairs(training: Training, rng: np.random.Generator) -> Iterator[tuple[str, Sequence[Any], Sequence[Any]]]:
    """Yield neighbours: each crafted user in several cohorts, and each natural user with all others."""
    users = list(training.users)
    cohorts = [users, []]
    cohorts += [[user for user in users if rng.random() < 0.5] for _ in range(COHORTS)]
    for name in training.crafted:
        for others in cohorts:
            yield name, training.world(name, True, others), training.world(name, False, others)
    for place in range(min(len(users), 64)):
        less = users[:place] + ([] if training.nothing is None else [training.nothing]) + users[place + 1 :]
        yield "a natural user", users, less


def _check(verdict: str, found: str, figures: dict[str, float | None]) -> Check:
    return Check.model_validate(
        {
            "level": Level.SENSITIVITY,
            "name": "function-sensitivity",
            "asks": ASKS,
            "verdict": verdict,
            "found": found,
            "figures": figures,
            "method": "crafted and natural neighbours, same random numbers",
        }
    )
