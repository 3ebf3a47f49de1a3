"""From scores of outputs with and without one user to a verdict on a claimed epsilon."""

import math

from fedrec.audit.evidence.clopper_pearson import Scores, epsilon_lower_bound
from fedrec.audit.evidence.trade_off import epsilon_of, mu_lower_bound
from fedrec.audit.findings import CONFIDENCE, SIGNIFICANCE, Bound, Check, Findings, Level, Verdict

INTERVALS = "error rates of a threshold attack (Clopper-Pearson)"
GAUSSIAN = "Gaussian trade-off curve (mu)"


def distinguished(
    inside: Scores,
    outside: Scores,
    *,
    delta: float,
    claimed: float,
    level: Level,
    of: str,
    adversary: str,
    gaussian: bool,
    name: str = "distinguishing",
    threshold: float | None = None,
) -> Findings:
    """Return two lower bounds on the epsilon of something at ``delta``, and whether one is above what is ``claimed``.

    ``inside``, ``outside``: independent scores of outputs with and without one user, float64 ``[n]``, higher where the
    user seems to be inside. ``of``: what is bounded (``one release``); ``adversary``: what the attack sees and may
    choose. ``gaussian``: whether the claim is of a Gaussian mechanism, composed or not, without amplification by
    sampling; only then does mu contradict it. ``threshold``: fixed before the draws were made, None: chosen on some of
    them. ``claimed`` may be infinite: nothing is claimed, and nothing broken. Raises ``ValueError`` for scores that are
    missing or NaN.
    """
    bounds = [_intervals_bound(inside, outside, delta, error, threshold) for error in _errors()]
    rows = [(INTERVALS, bounds)]
    if gaussian:
        rows.append((GAUSSIAN, [_gaussian_bound(inside, outside, delta, error, threshold) for error in _errors()]))
    found = tuple(
        Bound(
            level=level,
            of=of,
            method=method,
            adversary=adversary,
            delta=delta,
            claimed=_finite(claimed),
            lower=_finite(shown),
            judged=_finite(judged),
            draws=len(inside) + len(outside),
        )
        for method, (shown, judged) in rows
    )
    method, (shown, judged) = max(rows, key=lambda row: row[1][1])
    return Findings(checks=(_check(found, name, method, shown, judged, claimed, level),), bounds=found)


_WORDS = {
    "violated": "Yes: {told} (95 %), and of at least {judged:.2f} but for one chance in a million; claimed: "
    "{claimed:.2f}.",
    "warned": "It seems so: {told} (95 %), {claimed:.2f} is claimed; but that happens to one right claim in twenty: "
    "audit it again, with more draws or another seed.",
    "passed": "No violation found: {told} (95 %), {claimed:.2f} is claimed.",
}


def _check(
    bounds: tuple[Bound, ...], name: str, method: str, shown: float, judged: float, claimed: float, level: Level
) -> Check:
    first = bounds[0]
    broken = judged > claimed
    figures = {
        "claimed": first.claimed,
        "lower": _finite(shown),
        "judged": _finite(judged),
        "draws": float(first.draws),
    }
    verdict: Verdict = "violated" if broken else "warned" if shown > claimed else "passed"
    told = f"{first.draws} outputs of {first.of} prove an epsilon of at least {shown:.2f} at delta {first.delta:g}"
    return Check(
        level=level,
        name=name,
        asks=f"Can {first.of} with one user be told from {first.of} without, better than the claim allows?",
        verdict=verdict,
        found=_WORDS[verdict].format(told=told, judged=judged, claimed=claimed),
        figures=figures,
        method=f"{method}; Jagielski et al. 2020, Nasr et al. 2023",
        tests=len(bounds),
    )


def _errors() -> tuple[float, float]:
    """Return the error of the bound that is shown, and of the one that is judged."""
    return 1 - CONFIDENCE, SIGNIFICANCE


def _intervals_bound(inside: Scores, outside: Scores, delta: float, error: float, threshold: float | None) -> float:
    return epsilon_lower_bound(inside, outside, delta=delta, error=error, threshold=threshold)


def _gaussian_bound(inside: Scores, outside: Scores, delta: float, error: float, threshold: float | None) -> float:
    return epsilon_of(mu_lower_bound(inside, outside, error=error, threshold=threshold), delta)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
