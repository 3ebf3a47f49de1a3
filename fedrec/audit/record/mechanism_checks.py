"""Checks of what the ledger says each release was: noise, clip, sampling, divisor, weights and charge.

Judged from raw fields. The arithmetic of what a mechanism spends is written anew here. Needs no folder.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fedrec.audit.findings import Check
from fedrec.audit.record.ledger_checks import SEEDED
from fedrec.audit.record.lines import ChargeLine
from fedrec.audit.record.verdicts import judged

CLOSE = 1e-9
"""Relative difference that floating point explains."""

KNOWN = frozenset(
    {
        "amplified",
        "clip_norm",
        "cohort_cap",
        "correlation",
        "count_noise",
        "fixed_point",
        "generator",
        "minimum_users",
        "noise",
        "noise_multiplier",
        "noise_multiplier_of_a_message",
        "noise_source",
        "normaliser",
        "placement",
        "population",
        "row_clip_norm",
        "sample_rate",
        "sampling",
        "type",
    }
)
"""Fields of a mechanism in format 1. None is a weight: each user counts once."""

Fields = Mapping[str, Any]


def mechanism_checks(charges: Iterable[ChargeLine]) -> list[Check]:
    """Return the checks of what was charged."""
    charges = list(charges)
    return [
        _noise(charges),
        _source(charges),
        _clip(charges),
        _weights(charges),
        _population(charges),
        _normaliser(charges),
        _delta(charges),
        _covers(charges),
        _amplification(charges),
    ]


def _each(charges: Iterable[ChargeLine], fault: Any) -> list[str]:
    """Return what ``fault`` says of charges, each different mechanism asked once for the same words."""
    return [f"{charge.name} {text}" for charge in charges for text in fault(charge)]


def _noise(charges: list[ChargeLine]) -> Check:
    def fault(charge: ChargeLine) -> Iterator[str]:
        noise = charge.mechanism.get("noise_multiplier")
        if not _positive(noise):
            yield f"has noise multiplier {noise!r}: without noise, epsilon is infinite"

    least = min(
        (float(c.mechanism["noise_multiplier"]) for c in charges if _positive(_of(c, "noise_multiplier"))), default=0
    )
    return judged(
        "noise-positive",
        "Does every release have noise?",
        f"All have; the least is {least:.4g} times the clip norm.",
        violations=_each(charges, fault),
        figures={"least_noise_multiplier": least},
    )


def _of(charge: ChargeLine, name: str) -> Any:
    return charge.mechanism.get(name)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _source(charges: list[ChargeLine]) -> Check:
    sources = sorted({str(_of(charge, "noise_source")) for charge in charges})
    seeded = [source for source in sources if source.startswith(SEEDED)]
    return judged(
        "noise-source",
        "Can nobody repeat the noise?",
        f"Noise is from: {', '.join(sources)}.",
        violations=["the ledger does not say where noise comes from"] if sources in ([], ["None"], [""]) else [],
        warnings=[
            f"whoever knows the seed ({one}) can take the noise away: a simulation, not a deployment" for one in seeded
        ],
    )


def _clip(charges: list[ChargeLine]) -> Check:
    def fault(charge: ChargeLine) -> Iterator[str]:
        clip = _of(charge, "clip_norm")
        if not _positive(clip):
            yield f"has clip norm {clip!r}, which is not one positive number over all tensors together"
        rows, encoding = _of(charge, "row_clip_norm"), _of(charge, "fixed_point")
        if rows is not None and not _positive(rows):
            yield f"bounds rows by {rows!r}"
        if isinstance(encoding, dict) and _positive(clip) and not _encoded(charge, encoding, float(clip)):
            yield "encodes contributions as integers whose norm bound is below the clip norm"

    norms = [float(c.mechanism["clip_norm"]) for c in charges if _positive(_of(c, "clip_norm"))]
    return judged(
        "clip-covers-everything",
        "Is one user bounded over all tensors of a release together?",
        f"Each release has one L2 bound over everything that a user adds, from {min(norms, default=0):g} to "
        f"{max(norms, default=0):g}; that nodes keep it is for the audit of the mechanism.",
        violations=_each(charges, fault),
    )


def _encoded(charge: ChargeLine, encoding: Fields, clip: float) -> bool:
    """Return whether the integers' bound holds a clipped contribution, and the event is of that bound."""
    try:
        bound, scaled, dimension = float(encoding["norm_bound"]), float(encoding["scale"]) * clip, encoding["dimension"]
        same = charge.event.get("type") != "discrete-sum" or (
            charge.event["l2"] >= bound * (1 - CLOSE) and charge.event["dimension"] == dimension
        )
    except (KeyError, TypeError, ValueError):
        return False
    return bound >= scaled * (1 - CLOSE) and bool(same)


def _weights(charges: list[ChargeLine]) -> Check:
    def fault(charge: ChargeLine) -> Iterator[str]:
        unknown = sorted(set(charge.mechanism) - KNOWN)
        if unknown:
            names = ", ".join(map(repr, unknown))
            yield f"has {names}, which no release of format 1 has: users may not weigh differently"

    return judged(
        "equal-weights",
        "Does each user count once, whatever the number of its events?",
        "No release names a weight: users are added up as they are.",
        violations=_each(charges, fault),
    )


def _population(charges: list[ChargeLine]) -> Check:
    wrong = []
    for run in dict.fromkeys(charge.run for charge in charges):
        own = {_of(charge, "population") for charge in charges if charge.run == run and charge.words.unit == "user"}
        wrong += [f"run {run} counts on {' and '.join(map(str, sorted(map(str, own))))} users"] if len(own) > 1 else []
        wrong += [f"run {run} is over {number!r} users" for number in own if type(number) is not int or number < 1]
    numbers = sorted({str(_of(charge, "population")) for charge in charges})
    return judged(
        "public-population",
        "Is the number of users, N, one public number?",
        f"N is {' and '.join(numbers)}, the same in all releases of a run.",
        violations=wrong,
    )


def _normaliser(charges: list[ChargeLine]) -> Check:
    def fault(charge: ChargeLine) -> Iterator[str]:
        rate, population, divisor = (_of(charge, name) for name in ("sample_rate", "population", "normaliser"))
        if not (_positive(rate) and rate <= 1 and _positive(population) and _positive(divisor)):
            yield f"has sample rate {rate!r}, {population!r} users and divisor {divisor!r}"
        elif abs(divisor - rate * population) > CLOSE * rate * population:
            yield f"is divided by {divisor:g}, and q*N is {rate * population:g}: a divisor must not depend on who came"

    return judged(
        "public-normaliser",
        "Is each sum divided by a public number?",
        "Each is divided by the public q*N, not by the number of users that came.",
        violations=_each(charges, fault),
    )


def _delta(charges: list[ChargeLine]) -> Check:
    def fault(charge: ChargeLine) -> Iterator[str]:
        population = _of(charge, "population")
        if charge.words.unit == "user" and _positive(population) and charge.delta * population >= 1:
            least = f"not below 1/N = {1 / population:.3g}"
            yield f"has delta {charge.delta:g}, {least}: one user's data could be published"

    worst = max((charge.delta * float(_of(charge, "population") or 0) for charge in charges), default=0.0)
    return judged(
        "delta-below-one-user",
        "Is delta so small that publishing one user's data is not allowed?",
        f"Delta times N is {worst:.3g} at most, below 1.",
        violations=_each(charges, fault),
        figures={"delta_times_population": worst},
    )


def _covers(charges: list[ChargeLine]) -> Check:
    def fault(charge: ChargeLine) -> Iterator[str]:
        why = shortfall(charge.event, charge.mechanism)
        if why:
            yield f"charges less than its mechanism spends: {why}"

    return judged(
        "event-covers-mechanism",
        "Is each release charged at least what it spends?",
        "Each charge is at least that of its noise, sampling and encoding, derived anew.",
        violations=_each(charges, fault),
    )


def shortfall(event: Fields, mechanism: Fields) -> str:
    """Return why accounting ``event`` spends less than one release by ``mechanism``; empty if it covers it."""
    try:
        return _shortfall(event, mechanism)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        return f"its fields cannot be read ({type(error).__name__}: {error})"


def _shortfall(event: Fields, mechanism: Fields) -> str:
    kind, noise = event["type"], joint_noise(mechanism)
    rate = mechanism["sample_rate"] if mechanism["amplified"] else 1.0
    if event["steps"] < 1:
        return "it takes place no time"
    if mechanism["fixed_point"] is not None:
        return _discrete_shortfall(event, mechanism)
    if kind not in ("sampled-gaussian", "capped-gaussian", "correlated-gaussian"):
        return "" if kind != "discrete-sum" else "an event of discrete noise is charged for Gaussian noise"
    if event["noise_multiplier"] > noise * (1 + CLOSE):
        return f"noise multiplier {event['noise_multiplier']:g} for {noise:g}"
    if mechanism["correlation"] is not None:
        plain = kind == "sampled-gaussian" and event["sample_rate"] == 1
        return "" if plain or kind == "correlated-gaussian" else "correlated noise is charged as sampled"
    if kind == "correlated-gaussian":
        return "independent noise is charged as one stream, whose rounds cost once together"
    if event["sample_rate"] < rate * (1 - CLOSE):
        return f"sample rate {event['sample_rate']:g} for {rate:g}"
    return _cap_shortfall(event, mechanism, rate)


def _cap_shortfall(event: Fields, mechanism: Fields, rate: float) -> str:
    """With a cap a unit may push another out, so that the plain sampled event costs less, unless all are counted."""
    cap = mechanism["cohort_cap"]
    if event["type"] == "capped-gaussian":
        same = event["cap"] == cap and event["population"] == mechanism["population"]
        return "" if same else f"cap {event['cap']} of {event['population']} for {cap} of {mechanism['population']}"
    if cap is not None and rate < 1 and event["sample_rate"] < 1:
        return f"a cap of {cap} users is charged as a plain sample"
    return ""


def _discrete_shortfall(event: Fields, mechanism: Fields) -> str:
    if event["type"] != "discrete-sum":
        return f"noise on integers is charged as {event['type']}"
    encoding = mechanism["fixed_point"]
    shares = mechanism["minimum_users"] if mechanism["placement"] == "distributed" else 1
    std = mechanism["noise_multiplier"] * mechanism["clip_norm"] * encoding["scale"]
    bound, dimension = encoding["norm_bound"], encoding["dimension"]
    needed = {"l2": bound, "l1": min(bound * math.sqrt(dimension), bound**2), "dimension": dimension}
    for name, value in needed.items():
        if event[name] < value * (1 - CLOSE):
            return f"{name} {event[name]:g} for {value:g}"
    if event["kind"] != mechanism["noise"] or event["shares"] != shares:
        return f"{event['shares']} shares of {event['kind']} for {shares} of {mechanism['noise']}"
    if event["variance"] > std**2 / shares * (1 + 1e-6):
        return f"variance {event['variance']:g} for {std**2 / shares:g}"
    return ""


def joint_noise(mechanism: Fields) -> float:
    """Return the noise multiplier of a sum and the count beside it (Andrew et al., 2021, theorem 1)."""
    noise, count = float(mechanism["noise_multiplier"]), mechanism["count_noise"]
    return noise if count is None or noise == 0 else float((noise**-2 + (2 * count) ** -2) ** -0.5)


def _amplification(charges: list[ChargeLine]) -> Check:
    def fault(charge: ChargeLine) -> Iterator[str]:
        amplified = _amplified(charge.event)
        if charge.words.unit != "user" or not amplified:
            return
        if charge.words.adversary != "broadcast":
            yield "counts on secret cohorts against a server that picks them"
        if _of(charge, "placement") != "central":
            yield "counts on secret cohorts where devices add the noise, against the server"
        if _of(charge, "sampling") not in ("poisson", "capped poisson"):
            yield f"counts on a Poisson sample, and cohorts are drawn by {_of(charge, 'sampling')!r}"

    counted = sum(_amplified(charge.event) for charge in charges)
    return judged(
        "amplification-adversary",
        "Is secret sampling counted on only against those who cannot know the cohorts?",
        f"{counted} of {len(charges)} charges count on it, over Poisson samples, against receivers of the model alone."
        if counted
        else "No charge counts on it.",
        violations=_each(charges, fault),
        figures={"amplified": counted, "charges": len(charges)},
    )


def _amplified(event: Fields) -> bool:
    rate = event.get("sample_rate")
    return isinstance(rate, int | float) and rate < 1
