"""Whether a whole run gives away more of its canaries' coins than it claims to of anybody."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import chi2

from fedrec.audit.evidence.claimed_curves import ClaimedCurves
from fedrec.audit.evidence.one_run import Guesses, epsilon_of_guesses, guess, strongest_refuted
from fedrec.audit.findings import CONFIDENCE, SIGNIFICANCE, Bound, Check, Findings, Level, Verdict
from fedrec.privacy.accounts.audit import Claim
from fedrec.runs.folder import RunFolder
from simulations.audits.canaries.finished import Finished
from simulations.audits.canaries.scores import RELEASED, Scores, scores_of

SHARES = (1.0, 0.4, 0.1)
"""Of all coins, those that are guessed, the surest first: all tell most where noise is missing, four tenths where it is
and rounds missed some canaries, a tenth where noise is as claimed. Each is judged at its part of the significance."""

BY_CLAIM = "one run, guesses against epsilon and delta (Steinke et al. 2023, theorem 5.2)"
BY_CURVE = "one run, guesses against the claimed trade-off curve (Mahloujifar et al. 2024)"

ADVERSARY = (
    "sees what was released of item counts and the final shared parameters, knows all settings and every canary's "
    "item, and chooses what canaries contribute; does not see coins, single contributions or which users a round drew"
)

NO_CANARIES = (
    "The whole run was not attacked: it has no canaries. fedrec simulate SCENARIO --audit makes a run that has, and "
    "fedrec audit RUN --level 4 repeats this one with them."
)
NOTHING_SHOWN = (
    "The whole run was not attacked: it released neither item counts nor updates in which a canary's item has a row."
)
PATHS = (
    "Canaries act along rows of their own items: what leaks on paths that no release takes, such as metrics, timing or "
    "messages, they do not show."
)
LOOSE = (
    "A bound from one run is two to four times below the truth even for an ideal mechanism: canaries find noise or "
    "clipping that is missing, not noise that is a little too small."
)


def run_findings(folder: Path, claims: Sequence[Claim] = ()) -> Findings:
    """Return the lower bounds that a run's canaries put on its epsilon, and whether they are above what it claims.

    ``claims``: what is said of the run elsewhere; of those of its guarantee the smallest epsilon is held against the
    bounds where it is below what the ledger's events cost. Raises ``ConfigError`` or ``DataError`` naming what is
    missing or foreign.
    """
    if not RunFolder.open(folder).canaries_path.exists() and not RunFolder.open(folder).scenario().audit.canaries:
        return Findings(untested=(NO_CANARIES,))
    run = Finished.read(folder)
    scores = scores_of(run)
    if not scores:
        return Findings(untested=(NOTHING_SHOWN,))
    claimed = min([run.epsilon, *(c.epsilon for c in claims if c.guarantee == run.guarantee and c.delta == run.delta)])
    guesses = tuple(_guesses(run, scores))
    bounds = _bounds(run, guesses, claimed)
    noise = _reserved_noise(run, scores)
    return Findings(
        checks=(_check(run, guesses, bounds[1], claimed), *([noise] if noise else [])),
        bounds=bounds,
        untested=(PATHS, LOOSE),
    )


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One way of guessing. ``reads``: what the scores were read off."""

    reads: str
    guesses: Guesses


def _guesses(run: Finished, scores: dict[str, Scores]) -> list[_Attempt]:
    coins = run.canaries.coins
    return [
        _Attempt(reads=name, guesses=guess(own, coins, max(1, round(share * len(coins)))))
        for name, own in scores.items()
        for share in SHARES
    ]


def _bounds(run: Finished, attempts: Sequence[_Attempt], claimed: float) -> tuple[Bound, Bound]:
    curves = ClaimedCurves(events=run.events, adjacency=run.guarantee.adjacency)

    def by_claim(guesses: Guesses, error: float) -> float:
        return epsilon_of_guesses(guesses, run.delta, error)

    def by_curve(guesses: Guesses, error: float) -> float:
        return curves.epsilon(strongest_refuted(guesses, curves.at, error, curves.strengths()), run.delta)

    def bound(method: str, of: Callable[[Guesses, float], float]) -> Bound:
        lower, judged = (
            max(of(attempt.guesses, error / len(attempts)) for attempt in attempts)  # Bonferroni over the attempts
            for error in (1 - CONFIDENCE, SIGNIFICANCE)
        )
        return Bound(
            level=Level.RUN,
            of=f"the whole run, {len(run.charges)} releases",
            method=method,
            adversary=ADVERSARY,
            delta=run.delta,
            claimed=_finite(claimed),
            lower=_finite(lower),
            judged=_finite(judged),
            draws=len(run.canaries),
        )

    return bound(BY_CLAIM, by_claim), bound(BY_CURVE, by_curve)


def _check(run: Finished, attempts: Sequence[_Attempt], bound: Bound, claimed: float) -> Check:
    best = max(attempts, key=lambda attempt: attempt.guesses.correct / attempt.guesses.made)
    lower, judged = (math.inf if value is None else value for value in (bound.lower, bound.judged))
    told = (
        f"of {best.guesses.made} coins guessed from {best.reads}, {best.guesses.correct} were guessed right, "
        f"which puts epsilon at {lower:.2f} or more with 95 % confidence; {claimed:.2f} is claimed"
    )
    verdict: Verdict = "passed"
    word = "No violation found"
    if judged > claimed:
        verdict, word = "violated", f"Yes, and of at least {judged:.2f} but for one chance in a million"
    elif lower > claimed:
        verdict, word = (
            "warned",
            "It seems so, but chance is not ruled out as far as a verdict needs: try more canaries",
        )
    return Check(
        level=Level.RUN,
        name="canaries",
        asks="Does the finished run tell who took part better than its claim allows?",
        verdict=verdict,
        found=f"{word}: {told}.",
        figures={
            "canaries": float(len(run.canaries)),
            "guesses": float(best.guesses.made),
            "correct": float(best.guesses.correct),
            "lower": bound.lower,
            "judged": bound.judged,
            "claimed": _finite(claimed),
            "attempts": float(len(attempts)),
        },
        method=f"{BY_CURVE}; Bonferroni over {len(attempts)} ways of guessing that were fixed in advance",
        tests=1,
    )


def _reserved_noise(run: Finished, scores: dict[str, Scores]) -> Check | None:
    """Return whether the counts of items that nobody has met are as noisy as claimed: they are noise and nothing else.

    None where no counts were released.
    """
    if RELEASED not in scores:
        return None
    alone = scores[RELEASED][~run.canaries.coins]  # in units of the claimed deviation
    squares = float(np.square(alone).sum())
    chance = float(chi2.cdf(squares, len(alone))) if len(alone) else 1.0
    share = math.sqrt(squares / len(alone)) if len(alone) else math.nan
    found = f"the counts of {len(alone)} items that nobody met have {share:.3f} of the claimed noise"
    return Check(
        level=Level.RUN,
        name="reserved-row-noise",
        asks="Is there as much noise as claimed on the released counts of items that nobody has met?",
        verdict="violated" if chance < SIGNIFICANCE else "passed" if len(alone) else "not run",
        found=f"No: {found}." if chance < SIGNIFICANCE else f"No violation found: {found}.",
        figures={"items": float(len(alone)), "share of noise": share, "chance": chance},
        method="chi-square test of the variance in the rows of canaries that took no part, lower tail",
        tests=1,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
