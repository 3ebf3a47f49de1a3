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

CANARIES = "canaries"
"""Name of the check of the run as a whole."""

BY_CLAIM = "one run, guesses against epsilon and delta (Steinke et al. 2023, theorem 5.2)"
BY_CURVE = "one run, guesses against the claimed trade-off curve (Mahloujifar et al. 2024)"

ADVERSARY = (
    "sees what was released of item counts and the final shared parameters, knows all settings and every canary's "
    "item, and chooses what canaries contribute; does not see coins, single contributions or which users a round drew"
)

NO_CANARIES = (
    "The whole run was not attacked: it has no canaries. fedrec simulate SCENARIO --audit makes a run that has, and "
    "fedrec audit RUN --levels 4 repeats this one with them."
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


def run_findings(folder: Path, claims: Sequence[Claim] = (), repeats: Sequence[Path] = ()) -> Findings:
    """Return the lower bounds that a run's canaries put on its epsilon, and whether they are above what it claims.

    ``claims``: what is said of the run elsewhere; of those of its guarantee the smallest epsilon is held against the
    bounds where it is below what the ledger's events cost. ``repeats``: runs of the same settings with coins and noise
    of their own (``repeat_with_canaries``). Each bound is then the least of all runs', at a confidence by which all
    are wrong together as seldom as a single one may be: few right guesses that cannot be chance take many canaries, or
    a few runs. Raises ``ConfigError`` or ``DataError`` naming what is missing or foreign.
    """
    own = RunFolder.open(folder)
    with_canaries = own.canaries_path.exists() or own.scenario().audit.canaries
    runs = tuple(Finished.read(path) for path in ([folder] if with_canaries else []) + list(repeats))
    if not runs:
        return Findings(untested=(NO_CANARIES,))
    attacked = tuple(_Attacked.of(run) for run in runs)
    if not all(one.attempts for one in attacked):
        return Findings(untested=(NOTHING_SHOWN,))
    run = runs[0]
    claimed = min([run.epsilon, *(c.epsilon for c in claims if c.guarantee == run.guarantee and c.delta == run.delta)])
    bounds = tuple(
        _bound(attacked, method, of, claimed) for method, of in ((BY_CLAIM, _by_claim), (BY_CURVE, _by_curve))
    )
    return Findings(
        checks=(_check(attacked, bounds[1], claimed), *_reserved_noise(attacked)),
        bounds=bounds,
        untested=(PATHS, LOOSE),
    )


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One way of guessing. ``reads``: what the scores were read off."""

    reads: str
    guesses: Guesses


@dataclass(frozen=True, kw_only=True, eq=False)
class _Attacked:
    """A run and what its canaries' scores say."""

    run: Finished
    curves: ClaimedCurves
    scores: dict[str, Scores]
    attempts: tuple[_Attempt, ...]

    @classmethod
    def of(cls, run: Finished) -> "_Attacked":
        scores, coins = scores_of(run), run.canaries.coins
        return cls(
            run=run,
            curves=ClaimedCurves(events=run.events, adjacency=run.guarantee.adjacency),
            scores=scores,
            attempts=tuple(
                _Attempt(reads=name, guesses=guess(own, coins, max(1, round(share * len(coins)))))
                for name, own in scores.items()
                for share in SHARES
            ),
        )


_Bounding = Callable[[_Attacked, Guesses, float], float]
"""A lower bound on epsilon from guesses, wrong with a probability of at most the last."""


def _by_claim(attacked: _Attacked, guesses: Guesses, error: float) -> float:
    return epsilon_of_guesses(guesses, attacked.run.delta, error)


def _by_curve(attacked: _Attacked, guesses: Guesses, error: float) -> float:
    curves = attacked.curves
    return curves.epsilon(strongest_refuted(guesses, curves.at, error, curves.strengths()), attacked.run.delta)


def _bound(attacked: Sequence[_Attacked], method: str, of: _Bounding, claimed: float) -> Bound:
    run = attacked[0].run
    lower, judged = (
        min(_surest(one, of, error ** (1 / len(attacked)))[0] for one in attacked)
        for error in (1 - CONFIDENCE, SIGNIFICANCE)
    )
    times = "" if len(attacked) == 1 else f", run {len(attacked)} times"
    return Bound(
        level=Level.RUN,
        of=f"the whole run, {len(run.charges)} releases{times}",
        method=method,
        adversary=ADVERSARY,
        delta=run.delta,
        claimed=_finite(claimed),
        lower=_finite(lower),
        judged=_finite(judged),
        draws=sum(len(one.run.canaries) for one in attacked),
    )


def _surest(one: _Attacked, of: _Bounding, error: float) -> tuple[float, _Attempt]:
    """Return the largest bound of a run's attempts, each at its part of ``error``, and which attempt it is."""
    found = [(of(one, attempt.guesses, error / len(one.attempts)), attempt) for attempt in one.attempts]
    return max(found, key=lambda pair: pair[0])


def _check(attacked: Sequence[_Attacked], bound: Bound, claimed: float) -> Check:
    best = _surest(attacked[0], _by_curve, 1 - CONFIDENCE)[1]
    lower, judged = (math.inf if value is None else value for value in (bound.lower, bound.judged))
    times = "" if len(attacked) == 1 else f", and {len(attacked)} runs together put"
    told = (
        f"of {best.guesses.made} coins guessed from {best.reads}, {best.guesses.correct} were guessed right"
        f"{times or ', which puts'} epsilon at {lower:.2f} or more with 95 % confidence; {claimed:.2f} is claimed"
    )
    verdict: Verdict = "passed"
    word = "No violation found"
    if judged > claimed:
        verdict, word = "violated", f"Yes, and of at least {judged:.2f} but for one chance in a million"
    elif lower > claimed:
        verdict, word = "warned", "It seems so, but chance is not ruled out as far as a verdict needs: repeat the run"
    return Check(
        level=Level.RUN,
        name=CANARIES,
        asks="Does the finished run tell who took part better than its claim allows?",
        verdict=verdict,
        found=f"{word}: {told}.",
        figures={
            "runs": float(len(attacked)),
            "canaries": float(len(attacked[0].run.canaries)),
            "guesses": float(best.guesses.made),
            "correct": float(best.guesses.correct),
            "lower": bound.lower,
            "judged": bound.judged,
            "claimed": _finite(claimed),
            "attempts": float(len(attacked[0].attempts)),
        },
        method=f"{BY_CURVE}; Bonferroni over {len(attacked[0].attempts)} ways of guessing that were fixed in advance",
        tests=1,
    )


def _reserved_noise(attacked: Sequence[_Attacked]) -> tuple[Check, ...]:
    """Return whether the counts of items that nobody has met are as noisy as claimed: they are noise and nothing else.

    Nothing where no counts were released.
    """
    if not all(RELEASED in one.scores for one in attacked):
        return ()
    # in units of the claimed deviation
    alone = np.concatenate([one.scores[RELEASED][~one.run.canaries.coins] for one in attacked])
    squares = float(np.square(alone).sum())
    chance = float(chi2.cdf(squares, len(alone))) if len(alone) else 1.0
    share = math.sqrt(squares / len(alone)) if len(alone) else math.nan
    found = f"the counts of {len(alone)} items that nobody met have {share:.3f} of the claimed noise"
    check = Check(
        level=Level.RUN,
        name="reserved-row-noise",
        asks="Is there as much noise as claimed on the released counts of items that nobody has met?",
        verdict="violated" if chance < SIGNIFICANCE else "passed" if len(alone) else "not run",
        found=f"No: {found}." if chance < SIGNIFICANCE else f"No violation found: {found}.",
        figures={"items": float(len(alone)), "share of noise": _finite(share), "chance": chance},
        method="chi-square test of the variance in the rows of canaries that took no part, lower tail",
        tests=1,
    )
    return (check,)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
