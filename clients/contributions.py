"""The work itself: what a node's participants add to a round's sum, a few of them at a time."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from clients.encoding import coding_each_user
from clients.installed import build, catalogue_of, model_for
from clients.private_shards import NothingKept, PrivateShards, divide
from clients.store import NodeStore
from fedrec.data.histories import Histories
from fedrec.errors import LedgerError
from fedrec.evaluation.rank_histogram import CONTRIBUTION_NORM, histogram_rows
from fedrec.flower.wire import RANKS
from fedrec.members.ials import als_weights
from fedrec.members.implicit_als import solve_users
from fedrec.members.implicit_als import statistics_sum as item_statistics
from fedrec.models import FusedRecommender
from fedrec.models.split import ITEM_FACTORS, UNOBSERVED, PrivateState, SharedState
from fedrec.privacy.accounting.accountant import grouped
from fedrec.privacy.adaptive_clipping import WITHIN, within_tensor
from fedrec.privacy.guarantee import INTERACTION_LEVEL
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.release import device_part
from fedrec.rounds import (
    Contribution,
    TrainTask,
)
from fedrec.statistics.collection import statistics_sum
from fedrec.statistics.latest import latest_items
from fedrec.training.calibration import calibration_of, mixing_sum, without_held_back
from fedrec.training.cohort import train_cohort
from fedrec.training.private_start import initial_private
from fedrec.training.scoring import fold_in, score_users, standard_scores

STATISTICS_USERS = 65_536
"""Users whose item statistics are taken at a time."""

FUSION_USERS = 128
"""Users whose scores by all members are held at a time."""


Step = Callable[[], None]
Keep = Callable[[Step], None]
"""What is done with the step that lets new private parameters count."""


def at_once(step: Step) -> None:
    """Take the step now."""
    step()


def contribute(task: TrainTask, store: NodeStore, keep: Keep = at_once) -> SharedState:
    """Read the participants' rows, do the work, return what is sent of their sum.

    ``keep`` is given the step that lets their new private parameters count, which are on the disk then. Where devices
    add noise it comes from the operating system, whoever the server is: no seed of a task is asked.
    """
    update = task.contribution is Contribution.UPDATE
    parts = _trained_shards(task, store, keep) if update else _PARTS[task.contribution](task, store)
    return device_part(parts, len(task.participants), task.mechanism, noise_generator(None))


def _at_a_time(task: TrainTask, most: int) -> int:
    """Return how many users may be in one part: one where each is encoded and masked alone."""
    return 1 if task.mechanism is not None and task.mechanism.placement == "distributed" else most


def _seen(task: TrainTask, store: NodeStore) -> Histories:
    """Return all users' histories less the events that are held back in this run, for whichever purpose."""
    share = task.local.held_back + task.local.asked
    return without_held_back(store.histories(), store.user_seeds(task.local.seed), share)


def _statistics(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the statistics of as many users at a time as bound the memory, whatever the node's size."""
    histories, num_items = _seen(task, store), catalogue_of(store).num_items
    for users in divide(task.participants, _at_a_time(task, STATISTICS_USERS)):
        yield SharedState(statistics_sum(task.model, histories.take(users), num_items, task.mechanism))


def _weighed(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the sums of what the held-back events of a few users at a time say of the fusion's weights."""
    model = model_for(task, store)
    for own, before, target in _held(task, store, task.local.held_back, after=0.0):
        standard = standard_scores(model, task.shared, own, before)
        yield mixing_sum(task.model, task.shared, standard, before, target, task.mechanism)


def _ranked(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the histograms of the ranks at which the events stand that are held back for evaluation.

    A user whose scores are not all finite contributes zeros: it must not decide over what others contribute.
    """
    model = model_for(task, store)
    clip_norm = CONTRIBUTION_NORM if task.mechanism is None else task.mechanism.clip_norm
    for own, before, target in _held(task, store, task.local.asked, after=task.local.held_back):
        scores = score_users(model, task.shared, own, before)
        usable = np.flatnonzero(np.isfinite(scores).all(axis=1))
        targets = Histories(target[usable].astype(np.int32), np.arange(len(usable) + 1))
        rows = histogram_rows(scores[usable], before.take(usable), targets)
        yield SharedState({RANKS: torch.from_numpy(rows.sum(0) * min(1.0, clip_norm / CONTRIBUTION_NORM))})


def _factored(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the sums that item vectors are solved from, of a few users at a time."""
    histories, num_items, weights = (
        _seen(task, store),
        catalogue_of(store).num_items,
        als_weights(task.model, task.shared[UNOBSERVED]),
    )
    for users in divide(task.participants, _at_a_time(task, FUSION_USERS)):
        own = histories.take(users)
        vectors = solve_users(task.shared[ITEM_FACTORS], own, weights)
        yield item_statistics(vectors, latest_items(own, task.model.item_cap), num_items, task.mechanism)


def _held(
    task: TrainTask, store: NodeStore, share: float, *, after: float
) -> Iterator[tuple[PrivateState, Histories, NDArray[np.int64]]]:
    """Yield private parameters, history before and item of the events that participants hold back, a few at a time."""
    model, seeds = model_for(task, store), store.user_seeds(task.local.seed)
    held, histories = calibration_of(store.histories(), seeds, share, after), _seen(task, store)
    private = private_of(task, store, model)
    asked = np.flatnonzero(np.isin(held.users, task.participants))
    for chosen in list(divide(asked, _at_a_time(task, FUSION_USERS))) or [asked]:
        users = held.users[chosen]
        before = histories.take(users)
        kept = task.local.private_start == "kept"
        own = private.read(users) if kept else fold_in(model, task.shared, before, task.local)
        yield own, before, held.target[chosen]


def _trained_shards(task: TrainTask, store: NodeStore, keep: Keep) -> Iterator[SharedState]:
    """Train shard by shard and yield the sums; the last thing is to hand over what lets private parameters count."""
    model, histories, seeds = model_for(task, store), _seen(task, store), store.user_seeds(task.local.seed)
    private = private_of(task, store, model)
    path = _train_under_opacus if task.interaction else _train
    train = coding_each_user(task, partial(path, task, store, model))
    for users in private.divide(task.participants):
        own, length = private.read(users), _at_a_time(task, len(users))
        after = []
        for first in range(0, len(users), length):
            part = slice(first, first + length)
            before = PrivateState({name: value[part] for name, value in own.items()})
            total, trained = train(before, histories.take(users[part]), seeds[users[part]])
            after.append(trained)
            yield total
        private.put(users, _together(after))
    keep(partial(private.commit, noised=task.interaction is not None))


def _together(parts: list[PrivateState]) -> PrivateState:
    if len(parts) == 1:
        return parts[0]
    return PrivateState({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def private_of(task: TrainTask, store: NodeStore, model: FusedRecommender) -> PrivateShards | NothingKept:
    """Return where the users' private parameters are; a run that makes them anew each round leaves none on the disk."""
    fresh = partial(initial_private, model, local=task.local)
    if task.local.private_start != "kept":
        return NothingKept(fresh)
    return store.private_shards(task.run_id, fresh)


def _train_under_opacus(
    task: TrainTask,
    store: NodeStore,
    model: FusedRecommender,
    private: PrivateState,
    histories: Histories,
    seeds: NDArray[np.uint64],
) -> tuple[SharedState, PrivateState]:
    """Train with the interaction-level layer, whose accountant begins with what the ledger has.

    Its batches and noise come from the operating system, so that ``seeds`` are not asked.
    """
    # A deployed node is a new process for every message, and Opacus takes long to import on a small device.
    from fedrec.training.interaction import train_interactions

    if task.interaction is None:
        raise ValueError("the task does not ask for the interaction-level layer")
    charges = [charge for charge in store.ledger.charges() if charge.guarantee == INTERACTION_LEVEL]
    before = [charge.event for charge in charges[:-1]]  # the last is this round's
    on_cpu = build(task.model, catalogue_of(store), task.local.seed, "cpu")  # the layer's noise is drawn there
    result = train_interactions(
        on_cpu, task.shared, private, histories, task.local, task.interaction, task.mechanism, before
    )
    if grouped(result.events) != grouped(charge.event for charge in charges):
        raise LedgerError(f"{store.ledger.path}: other steps were taken than charged; nothing is sent")
    return result.total, result.private


def _train(
    task: TrainTask,
    store: NodeStore,
    model: FusedRecommender,
    private: PrivateState,
    histories: Histories,
    seeds: NDArray[np.uint64],
) -> tuple[SharedState, PrivateState]:
    result = train_cohort(
        model, task.shared, private, histories, seeds, task.round, task.local, task.mechanism, store.memory_mib
    )
    if task.mechanism is None or task.mechanism.count_noise is None:
        return result.total, result.private
    return SharedState({**result.total, WITHIN: within_tensor(result.within, result.counted)}), result.private


_PARTS: dict[Contribution, Callable[[TrainTask, NodeStore], Iterator[SharedState]]] = {
    Contribution.POPULARITY: _statistics,
    Contribution.FACTORS: _factored,
    Contribution.FUSION: _weighed,
    Contribution.RANKS: _ranked,
}
