"""All attacks by name: whose they are, what they want, what they are granted to know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedrec.data.histories import Histories
from simulations.attacks.attack import Attack, Knowledge, Sight
from simulations.attacks.authors.fedrec_attack import promotion
from simulations.attacks.many_keys import echo, zeros
from simulations.attacks.pieck import PopularItems, align_with_popular, serve_popular_as_users
from simulations.attacks.targeted import (
    above_synthetic_lists,
    fitted_queries,
    hardened,
    looking_popular,
    only_row,
    popularity_levels,
    promoted_to,
    with_fillers,
)
from simulations.attacks.untargeted import clustered, little_is_enough, opposed

Goal = Literal["promote", "degrade", "ride"]
MADE_UP = 32
"""Made-up users that an attacker thinks of."""
QUERY_SCALE = 0.1
FILLERS = 60
MINED = 20
CLUSTERS = 1
DEVIATIONS = 1.5


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An attack of the table. ``make``: a new one for a run."""

    goal: Goal
    source: str
    granted: str
    """What it knows beside what the server sends to everybody."""
    make: Callable[[], Attack]
    one_owner: bool = False
    """Whether its clients are devices of one enrolled owner, which a server can know."""


class _Liar:
    """What most attacks have in common. Claims the target alone in the statistics: one event is the largest share."""

    scaled = True
    known: Knowledge

    def claims(self, known: Knowledge) -> Sequence[Sequence[int]]:
        """Return the target alone, for each liar."""
        self.known = known
        return [[known.target]] * known.liars


@dataclass
class Random(_Liar):
    """A-ra and, with ``hard``, A-hum."""

    hard: bool

    def lie(self, sight: Sight) -> Tensor:
        """Promote the target to users drawn anew each round."""
        known = self.known
        queries = known.queries(MADE_UP, QUERY_SCALE)
        if self.hard:
            queries = hardened(sight.rows, known.target, queries, known.bias)
        return promoted_to(sight.rows, known.target, queries)


@dataclass
class FedRecAttack(_Liar):
    """Guesses users from leaked events."""

    queries: Tensor | None = None

    def lie(self, sight: Sight) -> Tensor:
        """Fit the leaked users' queries a little further, and put the target above their lists."""
        known = self.known
        start = known.queries(len(known.leaked), 0.01) if self.queries is None else self.queries
        self.queries = fitted_queries(sight.rows, known.leaked, start, known.generator, known.bias)
        met = torch.zeros(len(known.leaked), known.num_items, dtype=torch.bool)
        met[tuple(torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in known.leaked.distinct())] = True
        change = promotion(sight.rows, self.queries, met, known.target)
        return with_fillers(change, known.target, FILLERS, known.generator)


@dataclass
class PipAttack(_Liar):
    """Boosts explicitly, and makes the target look popular."""

    query: Tensor | None = None

    def lie(self, sight: Sight) -> Tensor:
        """Add both ways at the same length."""
        known = self.known
        self.query = known.queries(1, QUERY_SCALE) if self.query is None else self.query
        boost = promoted_to(sight.rows, known.target, self.query)
        disguise = looking_popular(sight.rows, known.target, popularity_levels(known.popularity))
        both = normalize(boost[known.target], dim=0) + normalize(disguise[known.target], dim=0)
        return only_row(sight.rows, known.target, both)


class SyntheticUsers(_Liar):
    """PSMU."""

    def lie(self, sight: Sight) -> Tensor:
        """Fit users of random histories, and put the target above their lists."""
        known = self.known
        drawn = torch.randint(0, known.num_items, (MADE_UP, known.typical_length), generator=known.generator)
        histories = Histories.from_lists([row.tolist() for row in drawn])
        start = known.queries(MADE_UP, 0.01)
        queries = fitted_queries(sight.rows, histories, start, known.generator, known.bias)
        return above_synthetic_lists(sight.rows, known.target, queries)


@dataclass
class Pieck(_Liar):
    """PIECK: mines popular items from how the rows move."""

    as_users: bool
    mined: PopularItems = field(default_factory=PopularItems)

    def lie(self, sight: Sight) -> Tensor:
        """Turn the target towards the mined items, or serve them as users; nothing in the first round."""
        known, targets = self.known, torch.tensor([self.known.target])
        self.mined.see(sight.rows)
        popular = self.mined.mined(MINED, targets)
        if not len(popular):
            return torch.zeros_like(sight.rows)
        if not self.as_users:
            return align_with_popular(sight.rows, targets, popular, 1.0)
        change = serve_popular_as_users(sight.rows, targets, popular, 1.0)
        if known.bias is not None:  # no popular item's bias is a user's taste; what all users have there is 1
            change[known.target, known.bias] = 1.0
        return change


class FalseClaims(_Liar):
    """Promotes the target in the release of item counts alone, and sends no update."""

    scaled = False

    def lie(self, sight: Sight) -> Tensor:
        """Send zeros."""
        return zeros(sight.rows)


class _Spoiler(_Liar):
    """What wants bad lists for all claims what an honest user would: items at random."""

    def claims(self, known: Knowledge) -> Sequence[Sequence[int]]:
        """Return items drawn at random, as many as an honest user's."""
        self.known = known
        drawn = [torch.randperm(known.num_items, generator=known.generator) for _ in range(known.liars)]
        return [order[: known.typical_length].tolist() for order in drawn]


@dataclass
class Spattack(_Spoiler):
    """Spattack: the honest sum turned round (omniscient), or one random direction all the time (blind)."""

    omniscient: bool
    noise: Tensor | None = None

    def lie(self, sight: Sight) -> Tensor:
        """Send the same from every liar."""
        if self.omniscient:
            return opposed(sight.honest, 1.0)
        if self.noise is None:
            self.noise = torch.randn(sight.rows.shape, generator=self.known.generator)
        return self.noise


class Cluster(_Spoiler):
    """ClusterAttack."""

    def lie(self, sight: Sight) -> Tensor:
        """Draw all rows together."""
        return clustered(sight.rows, CLUSTERS, 1.0, self.known.generator)


class LittleIsEnough(_Spoiler):
    """Stays within the spread of honest updates, as far as the liars' own show it."""

    scaled = False

    def lie(self, sight: Sight) -> Tensor:
        """Send the mean of what the liars would have sent less some standard deviations of it."""
        return little_is_enough(sight.own, DEVIATIONS)


class Flipping(_Spoiler):
    """Trains honestly on a lie: items that random histories never touched are all random again."""

    scaled = False

    def lie(self, sight: Sight) -> Sequence[Tensor]:
        """Send what honest training on the claims came to."""
        return list(sight.own)


@dataclass
class FreeRider(_Spoiler):
    """Wants the model for nothing."""

    echoes: bool
    scaled = False

    def lie(self, sight: Sight) -> Tensor:
        """Send zeros, or the last step as if it were the liar's own."""
        if not self.echoes or sight.former is None:
            return zeros(sight.rows)
        length = float(sight.own.flatten(1).norm(dim=1).mean()) if len(sight.own) else 0.0
        return echo(sight.former, sight.rows, length)


ATTACKS: dict[str, Kind] = {
    "fedrec-attack": Kind(
        goal="promote",
        source="Rong et al. 2022, ICDE",
        granted="1 % of all events",
        make=FedRecAttack,
    ),
    "a-ra": Kind(goal="promote", source="Rong et al. 2022, IJCAI", granted="nothing", make=lambda: Random(hard=False)),
    "a-hum": Kind(goal="promote", source="Rong et al. 2022, IJCAI", granted="nothing", make=lambda: Random(hard=True)),
    "pip-attack": Kind(goal="promote", source="Zhang et al. 2022, WSDM", granted="items' popularity", make=PipAttack),
    "psmu": Kind(goal="promote", source="Yuan et al. 2023, SIGIR", granted="nothing", make=SyntheticUsers),
    "pieck-ipe": Kind(
        goal="promote", source="Zhang et al. 2024, ICDE", granted="nothing", make=lambda: Pieck(as_users=False)
    ),
    "pieck-uea": Kind(
        goal="promote", source="Zhang et al. 2024, ICDE", granted="nothing", make=lambda: Pieck(as_users=True)
    ),
    "false-claims": Kind(goal="promote", source="counts of one item", granted="nothing", make=FalseClaims),
    "sybils": Kind(
        goal="promote",
        source="PIECK-IPE under many keys of one owner",
        granted="nothing",
        make=lambda: Pieck(as_users=False),
        one_owner=True,
    ),
    "spattack-omniscient": Kind(
        goal="degrade",
        source="Zhang et al. 2025, AAAI",
        granted="the others' updates",
        make=lambda: Spattack(omniscient=True),
    ),
    "spattack-blind": Kind(
        goal="degrade", source="Zhang et al. 2025, AAAI", granted="nothing", make=lambda: Spattack(omniscient=False)
    ),
    "cluster-attack": Kind(goal="degrade", source="Yu et al. 2023, AAAI", granted="nothing", make=Cluster),
    "little-is-enough": Kind(
        goal="degrade", source="Baruch et al. 2019, NeurIPS", granted="nothing", make=LittleIsEnough
    ),
    "flipping": Kind(goal="degrade", source="random interactions", granted="nothing", make=Flipping),
    "free-riders-zero": Kind(
        goal="ride", source="updates of zeros", granted="nothing", make=lambda: FreeRider(echoes=False)
    ),
    "free-riders-echo": Kind(
        goal="ride", source="the last step sent back", granted="nothing", make=lambda: FreeRider(echoes=True)
    ),
}
