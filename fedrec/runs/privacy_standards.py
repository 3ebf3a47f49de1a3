"""What two standards ask for, and where a privacy report answers it.

NIST SP 800-226 (Guidelines for Evaluating Differential Privacy Guarantees, final March 2025) builds a pyramid: the unit
and the parameters on top, which rest on algorithms, and those on trust, security and data collection. The Differential
Privacy Deployments Registry (OpenDP and partners, November 2025) has three tiers. What only the organisation that
deploys a model can answer is left to it, and says so.
"""

from collections.abc import Callable, Sequence

from fedrec.runs.privacy_record import ClaimRecord, ObserverRecord, StandardRecord

NIST, REGISTRY = "NIST SP 800-226", "DP Deployments Registry"
YOURS = "to be answered by the organisation that deploys the model"


def standards(
    claims: Sequence[ClaimRecord], observers: Sequence[ObserverRecord], texts: dict[str, str]
) -> tuple[StandardRecord, ...]:
    """Return both mappings; none for a run that claims nothing.

    ``texts``: ``name``, ``source``, ``dates``, ``tuning``, ``metrics``, ``noise``, ``gaps``, ``implementation``.
    """
    if not claims:
        return ()
    return (*_nist(claims, observers, texts), *_registry(claims, observers, texts))


def _nist(
    claims: Sequence[ClaimRecord], observers: Sequence[ObserverRecord], texts: dict[str, str]
) -> list[StandardRecord]:
    units = _of(claims, lambda claim: f"{claim.unit}; {claim.adjacency}")
    rows = [
        ("parameters", "unit of privacy and neighbouring data", units, ("claims.unit", "claims.adjacency")),
        ("parameters", "epsilon and delta", _of(claims, _loss), ("claims.epsilon", "claims.delta")),
        ("parameters", "delta against the number of units", _of(claims, _delta), ("claims.delta_times_population",)),
        ("parameters", "variant and conversions", _of(claims, _variant), ("claims.profile", "claims.zcdp_rho")),
        ("algorithms", "mechanism, sensitivity and clipping", _of(claims, _mechanisms), ("claims.stages",)),
        (
            "algorithms",
            "composition over all releases",
            _of(claims, _composed),
            ("claims.epsilon_rdp", "claims.stages"),
        ),
        ("algorithms", "sampling, and who must not see it", _of(claims, _sampling), ("claims.assumptions",)),
        ("algorithms", "utility, bias and how figures are published", texts["metrics"], ("metrics_policy",)),
        ("algorithms", "tuning on the same data", texts["tuning"], ("tuning",)),
        ("trust", "threat model: who is trusted with what", _trust(observers), ("observers", "claims.adversary")),
        ("trust", "random numbers and floating point", texts["noise"], ("claims.stages.noise_source", "gaps")),
        ("trust", "side channels and other exposure", texts["gaps"], ("gaps", "unprotected")),
        ("trust", "access control and security of the servers", YOURS, ()),
        ("collection", "what data are collected, from whom and for how long", YOURS, ()),
        ("collection", "what is treated as public", "listed in this report", ("public",)),
    ]
    return [_row(NIST, row) for row in rows]


def _registry(
    claims: Sequence[ClaimRecord], observers: Sequence[ObserverRecord], texts: dict[str, str]
) -> list[StandardRecord]:
    rows = [
        ("tier 1: who, what, when", "organisation, contact, use case", YOURS, ()),
        ("tier 1: who, what, when", "what is released", f"recommendation model {texts['name']!r}", ("name",)),
        ("tier 1: who, what, when", "data", texts["source"], ("public",)),
        ("tier 1: who, what, when", "when", texts["dates"], ("ledger.first", "ledger.last")),
        ("tier 2: guarantee", "flavour", _of(claims, _variant), ("claims.profile",)),
        ("tier 2: guarantee", "unit of privacy", _of(claims, lambda claim: claim.unit), ("claims.unit",)),
        ("tier 2: guarantee", "privacy loss", _of(claims, _loss), ("claims.epsilon", "claims.delta")),
        ("tier 2: guarantee", "model of trust", _of(claims, _model), ("claims.adversary", "claims.stages.placement")),
        ("tier 3: details", "data domain and what is unprotected", "listed in this report", ("public", "unprotected")),
        ("tier 3: details", "accounting: composition", _of(claims, _composed), ("claims.stages",)),
        ("tier 3: details", "accounting: post-processing", _POST, ()),
        ("tier 3: details", "implementation", texts["implementation"], ("fedrec", "ledger.code")),
        ("tier 3: details", "security: noise and side channels", texts["noise"], ("gaps",)),
        ("tier 3: details", "auditing", "fedrec audit tries to refute the claim, and reports", ("ledger.head",)),
        ("tier 3: details", "why these parameters", YOURS, ()),
    ]
    return [_row(REGISTRY, row) for row in rows]


_POST = (
    "the server's optimiser, weights from statistics, averaging and recommendations are computed from released sums "
    "and public data alone, or on the user's own device"
)


def _row(standard: str, row: tuple[str, str, str, tuple[str, ...]]) -> StandardRecord:
    level, asks, answer, fields = row
    return StandardRecord(standard=standard, level=level, asks=asks, answer=answer, fields=fields)


def _of(claims: Sequence[ClaimRecord], say: Callable[[ClaimRecord], str]) -> str:
    return " | ".join(f"{claim.level} level: {say(claim)}" for claim in claims)


def _loss(claim: ClaimRecord) -> str:
    epsilon = "infinite" if claim.epsilon is None else f"{claim.epsilon:.4g}"
    return f"epsilon {epsilon} at delta {claim.delta:.3g}"


def _delta(claim: ClaimRecord) -> str:
    return f"delta times {claim.population:,} is {claim.delta_times_population:.2g}"


def _variant(claim: ClaimRecord) -> str:
    exact = "" if claim.zcdp_rho is None else f"; zero-concentrated with rho {claim.zcdp_rho:.4g}"
    return f"approximate differential privacy with the whole profile over delta{exact}"


def _mechanisms(claim: ClaimRecord) -> str:
    return "; ".join(
        f"{stage.name}: {stage.noise} noise {stage.noise_multiplier:.4g} times the clip norm {stage.clip_norm[1]:.4g}"
        for stage in claim.stages
    )


def _composed(claim: ClaimRecord) -> str:
    return (
        f"{sum(stage.times for stage in claim.stages)} releases, composed by privacy loss distributions, checked by "
        "Renyi DP"
    )


def _sampling(claim: ClaimRecord) -> str:
    kinds = dict.fromkeys(f"{stage.sampling} at rate {stage.sample_rate:g}" for stage in claim.stages)
    return "; ".join(kinds)


def _model(claim: ClaimRecord) -> str:
    placement = {"central": "central", "device": "local", "distributed": "distributed"}
    if claim.level == "interaction":
        return "local"
    return ", ".join(dict.fromkeys(placement.get(stage.placement, stage.placement) for stage in claim.stages))


def _trust(observers: Sequence[ObserverRecord]) -> str:
    return "; ".join(f"{one.observer}: {one.protection}" for one in observers)
