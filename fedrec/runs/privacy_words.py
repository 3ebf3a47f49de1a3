"""What the parts of a privacy report are called and said, for readers who are no cryptographers."""

import math
from collections.abc import Collection, Mapping

from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.privacy_record import ClaimRecord, ObserverRecord

NEIGHBOURS = {
    "user": "whether any one person, with everything that person ever did, was part of it",
    "interaction": "whether any one event of a person took place",
}
KNOWN_TO_ALL = (
    "the item catalogue: ids, titles, attributes, images and texts of items",
    "the number of users in the frozen roster",
    "every setting of the run, and the coin by which users keep an event back",
    "what was pre-trained on the catalogue or on other public data alone",
)
METRICS_SIMULATED = (
    "quality figures of a simulation (metrics.jsonl, summary.json, report.html, evaluation/) are measured without "
    "noise, for the researcher who holds the data: not for publication together with the model where users are real"
)
METRICS_RELEASED = "; the figures called federated are one ledgered, noisy histogram of ranks"
METRICS_UNKNOWN = (
    "a ledger alone does not say which metrics were published: none may be, but those that are releases on it"
)
TUNED = "charged: the search is on this ledger, every trial's releases with the figure that was looked at"
TUNING = {
    "undeclared": "not declared (privacy.tuning): settings that were chosen by looking at these users are a release "
    "that no ledger of one run holds. Choose them on public data, or by a charged search (fedrec sweep)",
    "public": "declared: the settings were chosen on public data",
    "charged": "declared: the settings come from a search that is charged to a ledger of its own; fedrec privacy spent "
    "composes it with this run",
    "uncharged": "declared: the settings were chosen by looking at events of these users without a charge; what that "
    "reveals of them is in no epsilon of this report",
}
"""By ``privacy.tuning``."""

_STATISTICS = {
    "popularity": "which distinct items each user met",
    "pairs": "pairs of items near each other in a user's history",
    "gram": "pairs of distinct items that a user met",
    "transitions": "which item followed which",
    "recency": "items met, by spans of a public calendar",
}
_STAGES = {
    "training": "the change of each user's copy of the shared parameters after training on its device",
    "factors": "what item vectors are solved from, given each user's own vector",
    "fusion": "the gradient of the fusion's weights at one event that the user kept back",
    "ranks": "the rank at which an event stands that the user kept back, as a histogram",
    "interaction": "a step of training on the device, clipped and noised an interaction at a time",
}


def seed_warning(source: str) -> str:
    """Return what a noise ``source`` that can be repeated does to a claim."""
    return (
        f"Noise was drawn from a number ({source}): whoever knows it can subtract the noise, and no claim holds "
        "against them. For simulations alone: a release needs noise from the operating system (leave "
        "privacy.noise_seed out)."
    )


def stage_words(name: str) -> str:
    """Return what participants add to the release of this name."""
    if name in _STAGES:
        return _STAGES[name]
    parts = name.split("+")
    if parts[0] == "popularity":
        return "; ".join(_STATISTICS.get(part, part) for part in parts) + " (bounded together, once)"
    return "a figure of quality between 0 and 1 a user" if "@" in name or name in ("mrr", "auc") else name


def statement(guarantee: Guarantee, guess: float, epsilon: float, delta: float) -> str:
    """Return what is promised in two sentences without symbols.

    ``guess``: highest probability of guessing right from even odds; the second sentence is the definition of
    (epsilon, delta)-differential privacy.
    """
    whom = {
        "broadcast": "whoever receives the model, in all its versions",
        "server": "whoever sees what a device sends, the server included",
        "secure-sum": "the server and whoever receives the model, provided that nobody sees a single device's part",
    }[guarantee.adversary]
    if not math.isfinite(epsilon):
        return f"This promises nothing: against {whom}, epsilon is infinite, as without any noise."
    return (
        f"Against {whom}, it stays uncertain {NEIGHBOURS[guarantee.unit]}: a guess that had even odds before is right "
        f"with a probability of at most {percent(guess)} afterwards, whatever else the guesser knows. No conclusion "
        f"becomes more than {_times(epsilon)} times as probable as it would be without that {guarantee.unit}, give or "
        f"take a chance of 1 in {_one_in(delta)}."
    )


def mechanism_words(mechanism: Mechanism) -> str:
    """Return how a run's releases are made private, in one sentence."""
    kind = {"gaussian": "Gaussian", "discrete-gaussian": "discrete Gaussian", "skellam": "Skellam"}[mechanism.noise]
    where = {
        "central": "added by the server to every coordinate of the sum of what users add",
        "device": "added in full by each device to every coordinate of what its user adds",
        "distributed": f"of which each device adds a share, enough for {mechanism.minimum_users} of them together",
    }[mechanism.placement]
    streamed = (
        "" if mechanism.correlation is None else f", correlated over the rounds ({mechanism.correlation.strategy})"
    )
    rows = "" if mechanism.row_clip_norm is None else ", rows first"
    adapts = "" if mechanism.count_noise is None else " to a norm that follows a released quantile"
    return f"{kind} noise{streamed}, {where}, clipped per user{rows}{adapts}"


def overall(claims: Mapping[str, ClaimRecord], warnings: Collection[str]) -> str:
    """Return the first sentence of a report, of its first claim. ``claims``: by level and adversary."""
    if not claims:
        return "No claim is made: nothing was released under differential privacy."
    key, claim = next(iter(claims.items()))
    who = {
        "broadcast": "Whoever receives this model, and knows everything about everybody else,",
        "server": "The server, or whoever else sees what a device sends, and knows all about everybody else,",
        "secure-sum": "The server, if it sees sums of many devices alone, and whoever receives this model,",
    }[key.partition("/")[2]]
    what = "whether you took part" if claim.level == "user" else "whether one single event of yours took place"
    if claim.epsilon is None:
        return f"{who} may find out {what}: something was released without noise, and nothing is promised."
    can = next(can for most, can in _CAN if claim.guess <= most)
    care = " But read the warnings." if warnings else ""
    return f"{who} {can} {what}: from even odds, a guess is right in at most {percent(claim.guess)} of cases.{care}"


_CAN = ((0.6, "can hardly tell"), (0.85, "cannot be sure"), (1.0, "may often find out"))
"""What may be said of a guess that is right with at most such a probability."""


def observers(claims: Mapping[str, ClaimRecord], *, simulated: bool, evaluated: bool) -> tuple[ObserverRecord, ...]:
    """Return who sees what. ``claims``: by level and adversary, as in ``user/broadcast``."""
    return (
        _server(claims),
        _receivers(claims),
        _device(),
        _operator(claims, simulated=simulated, evaluated=evaluated),
        _network(),
        _holder(simulated=simulated),
    )


def _server(claims: Mapping[str, ClaimRecord]) -> ObserverRecord:
    sees = ["which nodes are in the roster, and which were asked and answered in each round, and when"]
    if "user/server" in claims:
        sees.append("each device's contribution, clipped and with all of its noise already in it")
        protection, by = "claim", f"the user-level claim against the server ({claims['user/server'].unit})"
    elif "user/secure-sum" in claims:
        sees.append("of contributions, only sums of at least the stated number of users, if the sum is secure")
        sees.append("as long as there is no secure sum: each device's clipped contribution with its share of the noise")
        protection, by = "claim, if its condition holds", "the user-level claim, if a secure sum is in place"
    elif "interaction/server" in claims:
        sees.append("each device's update, clipped and noised an interaction at a time on the device")
        protection, by = "claim", "the interaction-level claim; for a person's whole data it is trusted"
    else:
        sees.append("the clipped sum of each node before noise: for a node of one user, that user's clipped update")
        protection, by = "trust", "it adds the noise, and is trusted to keep the sums to itself"
    if "interaction/server" in claims and len(claims) > 1:
        by += "; each update is noised an interaction at a time before, for the interaction-level claim"
    return _observer("server, and whoever operates it", sees, protection, by)


def _receivers(claims: Mapping[str, ClaimRecord]) -> ObserverRecord:
    sees = ["every released version of the shared parameters, and the statistics before training"]
    covering = [name for name in ("user/broadcast", "user/secure-sum", "user/server") if name in claims]
    if covering:
        return _observer("other clients, and everybody who gets the model", sees, "claim", "the user-level claim")
    if "interaction/server" in claims:
        by = "the interaction-level claim: sums of what devices send; nothing covers a person's whole data"
        return _observer("other clients, and everybody who gets the model", sees, "claim", by)
    return _observer("other clients, and everybody who gets the model", sees, "none", "no claim is made")


def _device() -> ObserverRecord:
    sees = ["its own history and private parameters, which never leave it, and the recommendations made from them"]
    by = "it is the user's own: what others learn does not depend on it (joint, or billboard, differential privacy)"
    return _observer("the user's own device", sees, "not needed", by)


def _operator(claims: Mapping[str, ClaimRecord], *, simulated: bool, evaluated: bool) -> ObserverRecord:
    name = "operator of the evaluation"
    if evaluated:
        sees = ["one histogram of ranks over users who kept an event back, clipped and noised"]
        record = _observer(name, sees, "claim", "the user-level claim: the release is on the ledger")
    else:
        record = _observer(name, ["nothing from devices: no evaluation was released"], "not needed", "nothing is sent")
    if not simulated:
        return record
    sees = [*record.sees, "in this simulation, figures on held-out events without noise"]
    return _observer(name, sees, "none", "figures of a simulation are for its researcher, outside every claim")


def _network() -> ObserverRecord:
    sees = ["which devices connect, when, for how long, and sizes of messages"]
    return _observer("the network between", sees, "none", "no claim covers metadata; TLS is the deployment's")


def _holder(*, simulated: bool) -> ObserverRecord:
    if simulated:
        sees = ["everything: a simulation's folder holds the simulated devices too"]
        return _observer("who holds this run's folder", sees, "none", "a simulation's data are already there")
    sees = ["ledger, settings, released parameters; on a deployment no device's state"]
    return _observer("who holds this run's folder", sees, "trust", "the same as the server")


def _observer(name: str, sees: Collection[str], protection: str, by: str) -> ObserverRecord:
    return ObserverRecord.model_validate({"observer": name, "sees": tuple(sees), "protection": protection, "by": by})


def _times(epsilon: float) -> str:
    """Return ``e^epsilon``, rounded up to two digits."""
    if epsilon > 30:
        return f"10^{math.ceil(epsilon / math.log(10))}"
    factor = math.exp(epsilon)
    step = 10 ** (math.floor(math.log10(factor)) - 1)
    return (
        f"{math.ceil(factor / step - 1e-9) * step:,.2g}" if factor < 10 else f"{math.ceil(factor / step) * step:,.0f}"
    )


def _one_in(delta: float) -> str:
    """Return ``1/delta``, rounded down to two digits."""
    inverse = 1 / delta
    step = 10 ** max(math.floor(math.log10(inverse)) - 1, 0)
    return f"{math.floor(inverse / step + 1e-9) * step:,.0f}"


def percent(probability: float) -> str:
    """Return the probability rounded up, never to 100 % unless it is certain."""
    for digits in range(4):
        rounded = math.ceil(probability * 100 * 10**digits - 1e-9) / 10**digits
        if rounded < 100:
            return f"{rounded:.{digits}f} %"
    return "100 %"
