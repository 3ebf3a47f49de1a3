"""In which order a user met items, from the gradient of the sequence branch: gradient inversion.

Gradient matching (Zhu et al., 2019, "Deep leakage from gradients"; with cosines, Geiping et al., 2020) over what a
device can have had: the attacker plays the device for orders of the items and keeps that whose update is most like the
one it saw. It is told which items, which other attacks find, so that it is judged by the order alone. It knows the
model that was sent and how fresh devices begin; it does not know the coins of dropout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.audit.findings import Attack
from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.models import FusedRecommender, build_model
from fedrec.models.fusion import NUM_DROPOUT_MASKS
from fedrec.models.split import PrivateState, SharedState
from fedrec.privacy.noise.source import NoiseSource
from fedrec.rounds import Contribution
from fedrec.training.examples import Examples
from fedrec.training.own_copies import train_copies
from fedrec.training.private_start import initial_private, rebuild, solve_users
from simulations.audits.attacks.people import People
from simulations.audits.attacks.roc import roc
from simulations.audits.attacks.uploads import Devices, Upload, task_of
from simulations.audits.attacks.views import View
from simulations.audits.attacks.wording import row, shown

NAME = "gradient-inversion"
EVENTS = 6
"""Events of an attacked device: it is new, and this is all it has."""
STARTS = 24
"""Orders that are tried before the best of them is improved."""
SWEEPS = 5
"""Times that all exchanges and moves of single events are tried, at most."""

Order = tuple[int, ...]
Score = Callable[[Sequence[Order]], NDArray[np.float64]]
"""From orders, as places in the sorted items, to how well each explains what was seen."""


def objection(model: ModelConfig, local: LocalConfig, rounds: int) -> str | None:
    """Return why there is no sequence branch's gradient to invert, None if there is one."""
    if "seq" not in model.branches or not rounds:
        return "the run trains no sequence branch"
    if model.sequence_scope == "private":
        return "the sequence branch is each user's own and is not sent"
    if local.loss != "softmax":
        return f"with loss {local.loss} an update is of items that devices draw, which this attack cannot replay"
    return None


def gradient_inversion(
    people: People, shared: SharedState, views: Sequence[View], users: int, folder: Path, source: NoiseSource
) -> list[tuple[Attack, View]]:
    """Return a row for each view of single users' uploads, of devices that take part for the first time.

    ``shared``: the model that they are sent. Each device has the latest ``EVENTS`` events of one of the people. Empty
    where nobody has so many distinct ones.
    """
    short = _short(people, users)
    if not len(short):
        return []
    model = build_model(people.scenario.model, people.catalogue, people.scenario.run.seed)
    devices = Devices(short, folder)
    tables, found = frozenset(model.item_parameters), []
    for view in (view for view in views if view.of_one and view.later):
        task = task_of(short, Contribution.UPDATE, shared, 1, view)
        marks = []
        for user in range(len(short)):
            upload = Upload(task, view, people.catalogue.num_items, source.derived(NAME, view.key, user))
            upload.add(devices.part(task, user))
            items = np.sort(short.seen[user]).astype(np.int64)
            player = _Player(model=model, shared=task.shared, items=items, local=task.local, tables=tables)
            search = Search(len(items), player.matching(upload.seen()), np.random.default_rng([user, EVENTS]))
            marks.append((search, np.argsort(np.argsort(short.seen[user]))))
        found.append((_judged(marks, view), view))
    return found


def _judged(marks: Sequence[tuple["Search", NDArray[np.int64]]], view: View) -> Attack:
    true, false, right = [], [], 0
    for search, order in marks:
        scores = search.table()
        at_place = np.zeros(scores.shape, dtype=np.bool_)
        at_place[np.arange(len(order)), order] = True
        true.append(scores[at_place])
        false.append(scores[~at_place])
        right += int((np.array(search.best) == order).sum())
    found = roc(np.concatenate(true), np.concatenate(false))
    share, chance = right / (len(marks) * EVENTS), 1 / EVENTS
    return row(
        found,
        name=NAME,
        target=f"in which order a user met {EVENTS} items",
        sees=f"{view.sees}: an update of training, and which items it is of",
        defence=view.defence,
        control=view.control,
        note=f"The attacker puts {shown(share)} of the events in their right places; guessing puts {shown(chance)}.",
    )


class Search:
    """The order that scores best, by exchanging and moving events, and the scores of all that were tried."""

    def __init__(self, length: int, score: Score, rng: np.random.Generator) -> None:
        self._score, self._tried = score, dict[Order, float]()
        self._length = length
        self.best = self._try([tuple(rng.permutation(length).tolist()) for _ in range(STARTS)])
        for _ in range(SWEEPS):
            better = self._try(_neighbours(self.best))
            if self._tried[better] <= self._tried[self.best]:
                break
            self.best = better

    def table(self) -> NDArray[np.float64]:
        """Return the best score of an order with each item at each place, float64 ``[L, L]``, standardised."""
        table = np.full((self._length, self._length), min(self._tried.values()))
        for order, score in self._tried.items():
            places = (np.arange(self._length), np.array(order))
            table[places] = np.maximum(table[places], score)
        spread = table.std()
        standard: NDArray[np.float64] = (table - table.mean()) / (spread if spread > 0 else 1.0)
        return standard

    def _try(self, orders: Sequence[Order]) -> Order:
        fresh = [order for order in dict.fromkeys(orders) if order not in self._tried]
        if fresh:
            self._tried.update(zip(fresh, self._score(fresh).tolist(), strict=True))
        return max(orders, key=lambda order: self._tried[order])


def _neighbours(order: Order) -> list[Order]:
    found = []
    for one, two in combinations(range(len(order)), 2):
        swapped = list(order)
        swapped[one], swapped[two] = swapped[two], swapped[one]
        found.append(tuple(swapped))
    for source, target in permutations(range(len(order)), 2):
        moved = list(order)
        moved.insert(target, moved.pop(source))
        found.append(tuple(moved))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Player:
    """Plays a fresh device: what it would send if its items had come in another order. ``items``: int64, sorted."""

    model: FusedRecommender
    shared: SharedState
    items: NDArray[np.int64]
    local: LocalConfig
    tables: frozenset[str]

    def matching(self, seen: Mapping[str, Tensor]) -> Score:
        """Return how orders score: by the cosine of what they would have sent and what was seen."""
        known = self._flat({name: value[None] for name, value in seen.items()})[0]

        def score(orders: Sequence[Order]) -> NDArray[np.float64]:
            sent = self._flat(self._sent(orders))
            cosines = torch.nn.functional.cosine_similarity(sent, known[None])
            return cosines.double().nan_to_num(0.0).numpy()

        return score

    def _sent(self, orders: Sequence[Order]) -> dict[str, Tensor]:
        codes = torch.from_numpy(self.items[np.array(orders)])
        examples = Examples(
            history=codes[:, :-1],
            target=codes[:, 1:],
            mask=torch.ones(codes.shape[0], codes.shape[1] - 1),
            keep=torch.ones(len(codes), NUM_DROPOUT_MASKS, self.model.config.dim),
        )
        private = self._private(Histories.from_lists(codes.tolist()))
        return train_copies(self.model, self.shared, private, [examples], self.local, private_moves=False).moved

    def _private(self, histories: Histories) -> PrivateState:
        """Return what fresh devices begin with; where it is fitted to a history, to the first: orders matter little."""
        if self.local.private_start == "kept":
            return initial_private(self.model, len(histories), self.local)
        first = histories.take(np.zeros(1, dtype=np.int64))
        if self.local.private_start == "ridge":
            own = solve_users(self.model, self.shared, first, self.local)
        else:
            own = rebuild(self.model, self.shared, first, np.zeros(1, dtype=np.uint64), 1, self.local)
        return PrivateState({name: value.expand(len(histories), *value.shape[1:]) for name, value in own.items()})

    def _flat(self, updates: Mapping[str, Tensor]) -> Tensor:
        """Return updates ``[P, ...]`` as float ``[P, D]``, of item tables the rows of the items alone."""
        rows = torch.from_numpy(self.items)
        parts = [
            (value[:, rows] if name in self.tables else value).flatten(1) for name, value in sorted(updates.items())
        ]
        return torch.cat(parts, dim=1).detach().float()


def _short(people: People, users: int) -> People:
    """Return the first few people with ``EVENTS`` distinct latest events, as if they had no others."""
    whole = people.histories.lengths == people.seen.lengths
    latest = {
        user: people.seen[user][-EVENTS:]
        for user in np.flatnonzero(whole & (people.seen.lengths >= EVENTS)).tolist()
        if len(np.unique(people.seen[user][-EVENTS:])) == EVENTS
    }
    kept = np.array(sorted(latest)[:users], dtype=np.int64)
    ends = people.seen.offsets[1:][kept]
    events = (ends[:, None] - EVENTS + np.arange(EVENTS)).ravel()
    histories = people.seen.select(events, np.arange(len(kept) + 1, dtype=np.int64) * EVENTS)
    return replace(
        people,
        histories=histories,
        seen=histories,
        keys=tuple(people.keys[user] for user in kept),
        seeds=people.seeds[kept],
        attributes=(),
    )
