"""What a node does with a task: judge it, charge its own ledger, train, keep the private part, answer. Free of Flower.

The order is the promise: nothing private is read before the policy, the catalogue, the tensors and the budget have
been checked, and nothing is answered before it is on the disk.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.encoding import coding_each_user, encoded_total
from clients.policy import Objection
from clients.private_shards import NothingKept, PrivateShards, divide
from clients.store import NodeStore
from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.catalogue import FILES, Catalogue
from fedrec.data.histories import Histories
from fedrec.errors import LedgerError, MemoryBudgetError, ModelMismatchError
from fedrec.evaluation.rank_histogram import CONTRIBUTION_NORM, histogram_rows
from fedrec.flower.wire import RANKS
from fedrec.members.ials import als_weights
from fedrec.members.implicit_als import solve_users
from fedrec.members.implicit_als import statistics_sum as item_statistics
from fedrec.models import FusedRecommender, build_model
from fedrec.models.split import ITEM_FACTORS, UNOBSERVED, PrivateState, SharedState, check_fits, structure_digest
from fedrec.privacy.accounting import grouped
from fedrec.privacy.budget import Budget
from fedrec.privacy.entries import FROM_SYSTEM, Release
from fedrec.privacy.guarantee import INTERACTION_LEVEL, USER_LEVEL
from fedrec.privacy.mechanism import GaussianMechanism, SampledGaussian
from fedrec.rounds import (
    Contribution,
    NodeCard,
    Refusal,
    RefusalReason,
    TrainReply,
    TrainTask,
    carried,
    release_name,
)
from fedrec.statistics.collection import needed_statistics, statistics_sum
from fedrec.statistics.recency import RECENCY
from fedrec.training.calibration import calibration_of, mixing_sum, without_held_back
from fedrec.training.cohort import train_cohort
from fedrec.training.memory import bytes_per_user
from fedrec.training.private_start import initial_private
from fedrec.training.scoring import fold_in, score_users, standard_scores

STATISTICS_USERS = 65_536
"""Users whose item statistics are taken at a time."""

FUSION_USERS = 128
"""Users whose scores by all members are held at a time."""


def card(store: NodeStore) -> NodeCard:
    """Return what the node says of itself when it enrols."""
    return NodeCard(key=store.key, num_users=store.num_users, catalogue_digest=catalogue_of(store).digest)


def catalogue_of(store: NodeStore) -> Catalogue:
    """Return the catalogue that is installed on the node."""
    folder = store.catalogue_folder
    return _catalogue(folder, tuple(_stamp(folder / name) for name in FILES))


def answer(task: TrainTask, store: NodeStore) -> TrainReply | Refusal:
    """Do a round's work on the node's users, or say why not.

    A task that comes again gets the reply that was written for it, and nothing is trained or charged twice.
    """
    objection = store.policy.objection(task)
    written = None if objection else store.outbox.find(task.nonce)
    if written is not None:
        return written
    objection = objection or _misfit(task, store) or _lack_of_memory(task, store) or _charge(task, store)
    if objection is not None:
        return Refusal(nonce=task.nonce, reason=objection.reason, detail=objection.detail)
    try:
        total = encoded_total(task, _contribute(task, store))
    except MemoryBudgetError as error:  # whole histories are trained, and one is long: its length is not told
        detail = f"a user's history does not fit memory_mib = {error.given_mib} of this node"
        return Refusal(nonce=task.nonce, reason=RefusalReason.MEMORY, detail=detail)
    reply = TrainReply(nonce=task.nonce, total=total, num_users=len(task.participants))
    store.outbox.put(reply)
    return reply


def model_for(task: TrainTask, store: NodeStore) -> FusedRecommender:
    """Return the model that a task is about, built for the node's own catalogue; its parameters mean nothing."""
    return _model(task.model, catalogue_of(store), task.local.seed, store.device)


def _misfit(task: TrainTask, store: NodeStore) -> Objection | None:
    """Return why the task does not fit the node's catalogue, model or users."""
    catalogue = catalogue_of(store)
    if task.catalogue_digest != catalogue.digest:
        detail = f"this node has catalogue {catalogue.digest[:12]}, the task is for {task.catalogue_digest[:12]}"
        return Objection(reason=RefusalReason.CATALOGUE, detail=detail)
    if task.participants[-1] >= store.num_users:
        detail = f"this node has {store.num_users} users, asked was number {task.participants[-1]}"
        return Objection(reason=RefusalReason.PARTICIPANTS, detail=detail)
    template = carried(task.contribution, SharedState(dict(model_for(task, store).shared.named_parameters())))
    try:
        check_fits(task.shared, template, "the task")
    except ModelMismatchError as error:
        return Objection(reason=RefusalReason.TENSORS, detail=str(error))
    if structure_digest(task.shared) != task.model_digest:
        return Objection(reason=RefusalReason.MODEL, detail="the task's tensors are not those of its model digest")
    odd = [name for name, tensor in sorted(task.shared.items()) if not bool(torch.isfinite(tensor).all())]
    if odd:
        return Objection(reason=RefusalReason.TENSORS, detail=f"tensor {odd[0]!r} of the task is not finite")
    if task.contribution is Contribution.FUSION and not task.model.members:
        detail = "the task asks for the weights of a fusion, and its model has no members to weigh"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    if task.contribution is Contribution.FACTORS and "ials" not in task.model.members:
        detail = "the task asks for sums that items of ials are solved from, and its model has no such member"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    if RECENCY in needed_statistics(task.model) and task.model.recency_end is None:
        detail = "the task's model counts by time, and does not say until when: set model.recency_end"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    if task.interaction is not None and task.contribution is Contribution.POPULARITY:
        detail = "the interaction-level layer does not cover item counts: set training.popularity_start = false"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    if task.interaction is not None and not task.local.is_plain:
        detail = "the interaction-level layer trains by drawn steps of SGD on the full softmax alone"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    return None


def _lack_of_memory(task: TrainTask, store: NodeStore) -> Objection | None:
    """Return what is missing to train one user of a full window, whatever the node's users have done."""
    if task.contribution is not Contribution.UPDATE or task.interaction is not None:
        return None
    events = task.model.history_length + 1
    need = _need(model_for(task, store), task.local, events, clipped=task.mechanism is not None)
    if need <= store.memory_mib * 2**20:
        return None
    detail = f"one user needs {math.ceil(need / 2**20)} MiB, memory_mib of this node is {store.memory_mib}"
    return Objection(reason=RefusalReason.MEMORY, detail=detail)


def _charge(task: TrainTask, store: NodeStore) -> Objection | None:
    """Write the round on the device's ledger before it happens; object if a budget of the policy forbids it."""
    planned = _planned(task, store)
    rounds = len({(charge.run_id, charge.round) for charge in store.ledger.charges()}) if planned else 0
    if planned and rounds >= store.policy.max_rounds:
        detail = f"the policy says max_rounds = {store.policy.max_rounds}, the ledger has {rounds}"
        return Objection(reason=RefusalReason.BUDGET, detail=detail)
    for release, budget in planned:
        if store.ledger.would_exceed(release.spent, budget, release.guarantee):
            unit, limit = release.guarantee.unit, f"epsilon {budget.epsilon:g} at delta {budget.delta:g}"
            detail = f"the {unit}-level budget of {limit} does not hold another round"
            return Objection(reason=RefusalReason.BUDGET, detail=detail)
    for release, budget in planned:
        store.ledger.charge(release, budget)
    return None


def _planned(task: TrainTask, store: NodeStore) -> list[tuple[Release, Budget]]:
    """Return what the round spends on this node's users, with the budget that each part must fit."""
    planned = []
    name = release_name(task.contribution, task.model)
    if task.mechanism is not None:
        missed = _missed(task, store)
        planned += [(missed, store.policy.budget)] if missed else []
        event = _event(task.mechanism, task, store)
        release = Release(
            run_id=task.run_id,
            round=task.round,
            name=name,
            mechanism=task.mechanism,
            noise_source="server",
            event=event,
        )
        planned.append((release, store.policy.budget))
    if task.interaction is not None:
        from fedrec.training.interaction import interaction_mechanism  # see ``_train_under_opacus``

        release = Release(
            run_id=task.run_id,
            round=task.round,
            name="interaction",
            mechanism=interaction_mechanism(task.model, task.interaction),
            noise_source=FROM_SYSTEM,
            guarantee=INTERACTION_LEVEL,
            steps=task.local.steps,
        )
        epsilon = min(task.interaction.epsilon, store.policy.interaction_epsilon)
        planned.append((release, Budget(epsilon=epsilon, delta=store.policy.delta)))
    return planned


def _event(mechanism: GaussianMechanism, task: TrainTask, store: NodeStore) -> SampledGaussian:
    """Return what taking part costs this node's users, as far as the node can know.

    Amplification by sampling holds for a user who may or may not have been drawn, so all rounds since the last one
    that this node saw are charged, not only those that drew it. Without trust in the sampling, a round costs in full.
    """
    if not store.policy.trust_sampling:
        return SampledGaussian(noise_multiplier=mechanism.noise_multiplier, sample_rate=1.0)
    once = task.contribution is Contribution.RANKS
    steps = 1 if once else max(1, task.round - _last_seen(task, store))
    return SampledGaussian(noise_multiplier=mechanism.noise_multiplier, sample_rate=mechanism.sample_rate, steps=steps)


def _last_seen(task: TrainTask, store: NodeStore) -> int:
    """Return the last round of the task's run that this node has charged, 0 for none."""
    return max((charge.round for charge in store.ledger.charges() if charge.run_id == task.run_id), default=0)


def _missed(task: TrainTask, store: NodeStore) -> Release | None:
    """Return the rounds before an evaluation that may have drawn this node's users without its knowing.

    The evaluation's own mechanism is another, so these are charged by that of the last round that the node took part
    in; one that took part in none was drawn in none that it could know the noise of, and takes the evaluation's.
    """
    missed = task.round - 1 - _last_seen(task, store)
    if task.contribution is not Contribution.RANKS or missed < 1 or not store.policy.trust_sampling:
        return None
    own = [c for c in store.ledger.charges() if c.run_id == task.run_id and c.round and c.guarantee == USER_LEVEL]
    mechanism = own[-1].mechanism if own else task.mechanism
    if mechanism is None:
        return None
    return Release(
        run_id=task.run_id,
        round=task.round - 1,
        name=own[-1].name if own else "training",
        mechanism=mechanism,
        noise_source="server",
        event=replace(mechanism.event, steps=missed),
    )


def _contribute(task: TrainTask, store: NodeStore) -> SharedState:
    """Read the participants' rows, do the work, keep their new private parameters, return the sum."""
    if task.contribution is Contribution.POPULARITY:
        return _sum(_statistics(task, store))
    if task.contribution is Contribution.FUSION:
        return _sum(_weighed(task, store))
    if task.contribution is Contribution.FACTORS:
        return _sum(_factored(task, store))
    if task.contribution is Contribution.RANKS:
        return _sum(_ranked(task, store))
    return _sum(_trained_shards(task, store))


def _seen(task: TrainTask, store: NodeStore) -> Histories:
    """Return all users' histories less the events that are held back in this run, for whichever purpose."""
    share = task.local.held_back + task.local.asked
    return without_held_back(store.histories(), store.user_seeds(task.local.seed), share)


def _statistics(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the statistics of as many users at a time as bound the memory, whatever the node's size."""
    histories, num_items = _seen(task, store), catalogue_of(store).num_items
    for users in divide(task.participants, STATISTICS_USERS):
        yield SharedState(statistics_sum(task.model, histories.take(users), num_items, task.mechanism))


def _weighed(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the sums of what the held-back events of a few users at a time say of the fusion's weights."""
    model = model_for(task, store)
    for own, before, target in _held(task, store, task.local.held_back, after=0.0):
        standard = standard_scores(model, task.shared, own, before)
        yield mixing_sum(task.model, task.shared, standard, before, target, task.mechanism)


def _ranked(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the histograms of the ranks at which the events stand that are held back for evaluation."""
    model = model_for(task, store)
    clip_norm = CONTRIBUTION_NORM if task.mechanism is None else task.mechanism.clip_norm
    for own, before, target in _held(task, store, task.local.asked, after=task.local.held_back):
        targets = Histories(target.astype(np.int32), np.arange(len(target) + 1))
        rows = histogram_rows(score_users(model, task.shared, own, before), before, targets)
        yield SharedState({RANKS: torch.from_numpy(rows.sum(0) * min(1.0, clip_norm / CONTRIBUTION_NORM))})


def _factored(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Yield the sums that item vectors are solved from, of a few users at a time."""
    histories, num_items, weights = (
        _seen(task, store),
        catalogue_of(store).num_items,
        als_weights(task.model, task.shared[UNOBSERVED]),
    )
    for users in divide(task.participants, FUSION_USERS):
        own = histories.take(users)
        vectors = solve_users(task.shared[ITEM_FACTORS], own, weights)
        yield item_statistics(vectors, own, num_items, task.mechanism)


def _held(
    task: TrainTask, store: NodeStore, share: float, *, after: float
) -> Iterator[tuple[PrivateState, Histories, NDArray[np.int64]]]:
    """Yield private parameters, history before and item of the events that participants hold back, a few at a time."""
    model, seeds = model_for(task, store), store.user_seeds(task.local.seed)
    held, histories = calibration_of(store.histories(), seeds, share, after), _seen(task, store)
    private = _private(task, store, model)
    asked = np.flatnonzero(np.isin(held.users, task.participants))
    for chosen in list(divide(asked, FUSION_USERS)) or [asked]:
        users = held.users[chosen]
        before = histories.take(users)
        kept = task.local.private_start == "kept"
        own = private.read(users) if kept else fold_in(model, task.shared, before, task.local)
        yield own, before, held.target[chosen]


def _trained_shards(task: TrainTask, store: NodeStore) -> Iterator[SharedState]:
    """Train shard by shard and yield the sums; the last thing is to let the new private parameters count."""
    model, histories, seeds = model_for(task, store), _seen(task, store), store.user_seeds(task.local.seed)
    private = _private(task, store, model)
    path = _train_under_opacus if task.interaction else _train
    train = coding_each_user(task, partial(path, task, store, model))
    for users in private.divide(task.participants):
        total, trained = train(private.read(users), histories.take(users), seeds[users])
        private.put(users, trained)
        yield total
    private.commit()


def _private(task: TrainTask, store: NodeStore, model: FusedRecommender) -> PrivateShards | NothingKept:
    """Return where the users' private parameters are; a run that makes them anew each round leaves none on the disk."""
    fresh = partial(initial_private, model, local=task.local)
    if task.local.private_start != "kept":
        return NothingKept(fresh)
    return store.private_shards(task.run_id, fresh)


def _sum(parts: Iterator[SharedState]) -> SharedState:
    """Return the sum of one or more parts as they come, taken in float64; one alone is returned as it is."""
    first = next(parts)
    total: dict[str, Tensor] = {}
    for part in parts:
        total = total or {name: value.double() for name, value in first.items()}
        for name, value in part.items():
            total[name] += value
    return SharedState({name: total[name].to(value.dtype) if total else value for name, value in first.items()})


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
    on_cpu = _model(task.model, catalogue_of(store), task.local.seed, "cpu")  # the layer's noise is drawn there
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
    return result.total, result.private


@lru_cache(maxsize=2)
def _catalogue(folder: Path, stamps: tuple[int, ...]) -> Catalogue:
    """Read a catalogue once a process: many simulated nodes share one. ``stamps`` tells when its files changed."""
    return Catalogue.load(folder)


def _stamp(path: Path) -> int:
    """Return when a file was last written, 0 if there is none: reading it says so."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _need(model: FusedRecommender, local: LocalConfig, events: int, *, clipped: bool) -> int:
    """Return the bytes that one user needs: the same for all nodes of a process, which have the model in common."""
    return bytes_per_user(model, local, events, clipped)


@lru_cache(maxsize=2)
def _model(config: ModelConfig, catalogue: Catalogue, seed: int, device: str) -> FusedRecommender:
    """Build a model once a process; training never changes its parameters."""
    return build_model(config, catalogue, seed).to(device)
