"""The members of a stored fusion, each alone, and which of them is the best."""

from dataclasses import dataclass
from functools import lru_cache

from fedrec.evaluation.significance import holm
from simulations.ablation import ALONE, EQUAL
from simulations.benches.quality.matrix import CENTRAL, FUSION, TRIO
from simulations.benches.quality.row import METRICS
from simulations.benches.quality.stored import Difference, Scored, Stored, differences


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A member alone. ``apart``: whether it was trained alone, and not together with the others."""

    name: str
    label: str
    scored: Scored | None
    apart: bool


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The fusion less something, by metric. ``holm``: p corrected for all that the fusion is compared with."""

    name: str
    label: str
    by_metric: dict[str, Difference]
    holm: dict[str, float]


def parts(stored: Stored) -> list[Part]:
    """Return the fusion's members in their order: branches trained alone where such runs are stored."""
    if not stored.of(FUSION):
        return []
    model = stored.scenario(FUSION).model
    found = []
    for name in model.branches:
        alone = stored.scored(name)
        within = stored.scored(FUSION, f"{ALONE} {name}")
        label = f"{name}, trained alone" if alone else f"{name}, as trained in the fusion"
        found.append(Part(name=name, label=label, scored=alone or within, apart=alone is not None))
    for member in model.members:
        scored = stored.scored(FUSION, f"{ALONE} {member}")
        found.append(Part(name=member, label=f"{member}, federated", scored=scored, apart=True))
    return found


@lru_cache(maxsize=16)
def gains(stored: Stored) -> list[Gain]:
    """Return the fusion less each member, its branches together, and equal weights, corrected for all of them."""
    fusion = stored.scored(FUSION)
    if fusion is None:
        return []
    others = [(part.name, part.label, part.scored) for part in parts(stored)]
    others.append((TRIO, "trained branches together", stored.scored(TRIO)))
    others.append((EQUAL, EQUAL, stored.scored(FUSION, f"{ALONE} {EQUAL}")))
    known = [(name, label, scored) for name, label, scored in others if scored is not None]
    found = [differences(fusion, scored) for _, _, scored in known]
    corrected = {metric: holm([one[metric].p for one in found]) for metric in METRICS}
    return [
        Gain(name=name, label=label, by_metric=one, holm={metric: corrected[metric][place] for metric in METRICS})
        for place, ((name, label, _), one) in enumerate(zip(known, found, strict=True))
    ]


def best_part(stored: Stored) -> Part | None:
    """Return the member with the best NDCG@10 of those that were measured."""
    known = [part for part in parts(stored) if part.scored]
    return max(known, key=lambda part: part.scored.mean("ndcg@10") if part.scored else 0.0) if known else None


def relative_to_central(stored: Stored, metric: str) -> float | None:
    """Return by how much of the central twin's mean the fusion is above it; None where one is not stored."""
    fusion, central = stored.scored(FUSION), stored.scored(CENTRAL)
    if fusion is None or central is None or not central.mean(metric) > 0:
        return None
    return fusion.mean(metric) / central.mean(metric) - 1
