"""Whose uploads are attacked: real users where the scenario's data are at hand, drawn ones otherwise.

Data are never fetched for an attack. What is true of the people is known here and nowhere in the attacks but where
they are judged, and where an attacker is given users of its own to learn from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedrec.config import DataConfig, Scenario
from fedrec.data.catalogue import Catalogue
from fedrec.data.fetch import find_dataset
from fedrec.data.histories import Histories
from fedrec.data.load import SYNTHETIC, Dataset, load_dataset
from fedrec.errors import ConfigError, DataError
from fedrec.training.calibration import without_held_back
from fedrec.training.randomness import user_seeds
from simulations.able import without_the_unable

LEAST_EVENTS = 3
"""A user with fewer is not attacked: two events are what one example takes."""

MOST_ATTRIBUTES = 3
LEAST_OF_A_KIND = 5
"""Users with and without an attribute, at least: of fewer nothing is learned."""
FLIPPED = 0.1
"""Share of drawn users whose planted attribute is not what their taste says."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribute:
    """Something about users that they did not send: ``holds`` bool ``[U]``, where ``known`` bool ``[U]``."""

    name: str
    holds: NDArray[np.bool_]
    known: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """The attacked users.

    ``scenario``: what is run on them, less what their data do not allow. ``histories``: all their training events, as a
    device stores them; ``seen``: those of them that uploads are made of. ``seeds``: uint64 ``[U]`` of the run.
    ``population``: users of the whole run. ``popularity``: float64 ``[num_items]``, share of that population who met
    each item. ``source``: who they are, in words. ``notes``: what was decided on the way.
    """

    scenario: Scenario
    catalogue: Catalogue
    histories: Histories
    seen: Histories
    keys: tuple[str, ...]
    seeds: NDArray[np.uint64]
    attributes: tuple[Attribute, ...]
    population: int
    popularity: NDArray[np.float64]
    source: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.seen)

    def first(self, count: int) -> Self:
        """Return the first few of them."""
        users = np.arange(min(count, len(self)), dtype=np.int64)
        attributes = (_attribute(one.name, one.holds[users], one.known[users]) for one in self.attributes)
        return replace(
            self,
            histories=self.histories.take(users),
            seen=self.seen.take(users),
            keys=self.keys[: len(users)],
            seeds=self.seeds[users],
            attributes=tuple(one for one in attributes if one is not None),
        )

    def membership(self) -> NDArray[np.bool_]:
        """Return which items are in the history that uploads are made of, bool ``[U, num_items]``."""
        found = np.zeros((len(self), self.catalogue.num_items), dtype=np.bool_)
        found[self.seen.distinct()] = True
        return found


def people_of(scenario: Scenario, *, seed: int, count: int) -> People:
    """Return up to ``count`` users of the scenario's data, drawn by ``seed``, in random order.

    Of a data set that is not at hand, users of a drawn population stand in, and a note says so. Raises ``ConfigError``
    if there are too few users to attack.
    """
    dataset, notes = _dataset(scenario)
    able, left_out = without_the_unable(scenario, dataset)
    train = dataset.splits.final.train
    rng = np.random.default_rng([seed, 0xA77AC])
    eligible = np.flatnonzero(train.lengths >= LEAST_EVENTS)
    if len(eligible) < 4 * LEAST_OF_A_KIND:
        raise ConfigError(
            f"attacks need {4 * LEAST_OF_A_KIND} users of {LEAST_EVENTS} training events or more, these data have "
            f"{len(eligible)}: audit with more users"
        )
    users = rng.permutation(eligible)[:count].astype(np.int64)
    keys = tuple(dataset.log.user_ids[user] for user in users)
    histories, local = train.take(users), able.played.local
    seeds = user_seeds(keys, local.seed)
    return People(
        scenario=able,
        catalogue=dataset.catalogue,
        histories=histories,
        seen=without_held_back(histories, seeds, local.held_back + local.asked),
        keys=keys,
        seeds=seeds,
        attributes=_attributes(dataset, keys, histories, rng),
        population=len(train),
        popularity=np.bincount(train.distinct()[1], minlength=dataset.catalogue.num_items) / len(train),
        source=f"{len(users)} of {len(train)} users of {dataset.source}",
        notes=(*notes, *left_out),
    )


def _dataset(scenario: Scenario) -> tuple[Dataset, list[str]]:
    source = scenario.data.source
    if source != SYNTHETIC and not Path(source).expanduser().exists() and find_dataset(source) is None:
        reason = "is not at hand, and an attack fetches nothing"
    else:
        try:
            return load_dataset(scenario.data, scenario.run.seed), []
        except DataError as error:
            reason = f"cannot be read ({error})"
    drawn = load_dataset(DataConfig(split=scenario.data.split), scenario.run.seed)
    return drawn, [f"The run's own users were not attacked: data.source={source!r} {reason}. Drawn users stand in."]


# --- attributes ---------------------------------------------------------------------------------------------------
def _attributes(
    dataset: Dataset, keys: Sequence[str], histories: Histories, rng: np.random.Generator
) -> tuple[Attribute, ...]:
    if dataset.source == SYNTHETIC:
        found = [_planted(dataset.catalogue, histories, rng)]
    else:
        row_of = {user_id: row for row, user_id in enumerate(dataset.log.user_ids)}
        rows = [row_of[key] for key in keys]
        found = list(_told(dataset.user_attributes, rows))
    return tuple(one for one in found if one is not None)[:MOST_ATTRIBUTES]


def _told(columns: Mapping[str, tuple[str, ...]], rows: Sequence[int]) -> list[Attribute | None]:
    """Return for each column whether a user has the value whose share is nearest to one half."""
    found: list[Attribute | None] = []
    for name, column in columns.items():
        values = np.array([column[row] for row in rows])
        known = values != ""
        kinds, counts = np.unique(values[known], return_counts=True)
        if len(kinds) < 2:
            continue
        value = kinds[np.argmin(np.abs(counts / counts.sum() - 0.5))]
        found.append(_attribute(f"{name} is {value}", (values == value) & known, known))
    return found


def _planted(catalogue: Catalogue, histories: Histories, rng: np.random.Generator) -> Attribute | None:
    """Return an attribute that goes with taste: on which side of the items' main contrast most of a user's items are.

    For drawn users, of whom nothing else is known; of a tenth of them it is not true.
    """
    centred = catalogue.features - catalogue.features.mean(axis=0)
    if not centred.size or not np.abs(centred).max():
        return None
    side = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    owners = np.repeat(np.arange(len(histories)), histories.lengths)
    means = np.bincount(owners, weights=side[histories.items], minlength=len(histories)) / histories.lengths
    holds = (means > np.median(means)) ^ (rng.random(len(histories)) < FLIPPED)
    return _attribute("planted by taste", holds, np.ones(len(histories), dtype=np.bool_))


def _attribute(name: str, holds: NDArray[np.bool_], known: NDArray[np.bool_]) -> Attribute | None:
    kinds = (int(holds[known].sum()), int((~holds[known]).sum()))
    return Attribute(name=name, holds=holds, known=known) if min(kinds) >= LEAST_OF_A_KIND else None
