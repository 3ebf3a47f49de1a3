"""What attackers of all views collect over the rounds of a run: readings and sketches of each upload."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.models import FusedRecommender, build_model
from fedrec.models.split import SharedState
from fedrec.privacy.noise.source import NoiseSource
from fedrec.rounds import Contribution
from fedrec.training.draws import draw_steps
from fedrec.training.server_step import ServerOptimizer
from fedrec.training.start import start_from_popularity
from simulations.audits.attacks.people import People
from simulations.audits.attacks.readings import readings_of, sketch_of
from simulations.audits.attacks.uploads import Devices, Upload, mean_of, task_of
from simulations.audits.attacks.views import View


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a view shows of the attacked users.

    ``users``: int64 ``[U]``, those of whom something is seen. ``readings``: float32 ``[R, U, F, num_items]``, each
    user's those of the upload that it is in. ``sketches``: float32 ``[R, U, S]``, for uploads of one user.
    """

    view: View
    users: NDArray[np.int64]
    readings: NDArray[np.float32]
    sketches: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """What was seen of a kind of contribution, by view.

    ``spoken_of``: bool ``[U, num_items]``, the items that the first round's uploads were made of, which in training are
    those of a window. ``shared``: the model after the rounds.
    """

    contribution: Contribution
    seen: tuple[Seen, ...]
    spoken_of: NDArray[np.bool_]
    shared: SharedState


@dataclass(kw_only=True)
class _Collected:
    readings: list[NDArray[np.float32]] = field(default_factory=list)
    sketches: list[NDArray[np.float32]] = field(default_factory=list)
    users: list[int] = field(default_factory=list)


def watch(
    people: People,
    devices: Devices,
    contribution: Contribution,
    views: Sequence[View],
    rounds: int,
    source: NoiseSource,
) -> Watched:
    """Play ``rounds`` rounds without noise on what is broadcast, and collect what each view shows of each."""
    model = build_model(people.scenario.model, people.catalogue, people.scenario.run.seed)
    tables, shared = frozenset(model.item_parameters), _start(people, model.shared_state())
    optimizer, kept = ServerOptimizer(people.scenario.played), {view.key: [_Collected()] for view in views}
    training = contribution is Contribution.UPDATE
    for number in range(int(training), int(training) + rounds):
        looking = [view for view in views if view.later or number <= 1]
        plain = []
        for view in looking:
            if number > 1:
                kept[view.key].append(_Collected())
        open_ = {view.key: _Watcher(view, people, shared, number, tables, source) for view in looking}
        for user in range(len(people)):
            parts = {}
            for view in looking:
                watcher = open_[view.key]
                bounded = view.mechanism is not None
                if bounded not in parts:
                    parts[bounded] = devices.part(watcher.task, user)
                watcher.add(user, parts[bounded], kept[view.key][-1])
            plain.append(parts[False])
        if training:
            shared = optimizer.step(shared, mean_of(plain), number)
    spoken_of = _window(people, model) if training else people.membership()
    seen = tuple(_seen(view, kept[view.key]) for view in views)
    return Watched(contribution=contribution, seen=seen, spoken_of=spoken_of, shared=shared)


class _Watcher:
    """Divides the users of a round among a view's uploads and reads each as soon as it is whole."""

    def __init__(
        self, view: View, people: People, shared: SharedState, round: int, tables: frozenset[str], source: NoiseSource
    ) -> None:
        contribution = Contribution.UPDATE if round else Contribution.POPULARITY
        self.task = task_of(people, contribution, shared, round, view)
        self._view, self._tables, self._num_items = view, tables, people.catalogue.num_items
        self._source = source.derived(view.key, contribution.value, round)
        self._half, self._users = len(people) // 2, len(people)
        self._open: Upload | None = None
        self._in_it: list[int] = []

    def add(self, user: int, part: SharedState, into: _Collected) -> None:
        place = user if user < self._half else user - self._half  # no sum is of users of both halves
        size = self._half if user < self._half else self._users - self._half
        sums = 1 if self._view.summed_securely else size // self._view.users
        if place >= sums * self._view.users:
            return
        if self._open is None:
            self._open = Upload(self.task, self._view, self._num_items, self._source.derived(user))
        self._open.add(part)
        self._in_it.append(user)
        if len(self._in_it) < self._view.users:
            return
        upload = self._open.seen()
        into.users += self._in_it
        readings = readings_of(upload, self._tables, self._num_items)
        into.readings += [readings] * len(self._in_it)
        if self._view.of_one:
            into.sketches.append(sketch_of(upload, self._tables))
        self._open, self._in_it = None, []


def _seen(view: View, rounds: Sequence[_Collected]) -> Seen:
    sketches = [np.stack(one.sketches) if one.sketches else np.empty((len(one.users), 0), np.float32) for one in rounds]
    return Seen(
        view=view,
        users=np.array(rounds[0].users, dtype=np.int64),
        readings=np.stack([np.stack(one.readings) for one in rounds]),
        sketches=np.stack(sketches),
    )


def _start(people: People, shared: SharedState) -> SharedState:
    """Return the model that training starts from: with item biases from the counts of everybody, where these are."""
    training, privacy = people.scenario.training, people.scenario.privacy
    if not training.popularity_start or (privacy.enabled and not privacy.popularity_share):
        return shared
    return start_from_popularity(shared, torch.from_numpy(people.popularity).float())


def _window(people: People, model: FusedRecommender) -> NDArray[np.bool_]:
    """Return the items of the events that the first round's updates are of, bool ``[U, num_items]``."""
    local = people.scenario.played.local
    found = np.zeros((len(people), people.catalogue.num_items), dtype=np.bool_)
    for step in draw_steps(model, people.seen, people.seeds, 1, local):
        owner, place = np.nonzero(step.mask.numpy())
        found[owner, step.history.numpy()[owner, place]] = True
        found[owner, step.target.numpy()[owner, place]] = True
    return found
