"""The cohort engine: local training of all of a node's participating users in one call, free of Flower.

The user is the batch axis, from a device with one user to a simulation with a million. Users are trained a chunk at a
time, as many as the memory budget holds, on one of four paths: one step from common weights (``common_step``, or
``plain_step`` for models that are no inner products), steps of matrix factorisation alone (``factor_steps``), or steps
on copies of their own (``own_copies``). All give what a plain loop over users gives.
"""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.config import LocalConfig
from fedrec.config.run import DEFAULT_MEMORY_MIB
from fedrec.data.histories import Histories
from fedrec.models.fusion import FusedRecommender
from fedrec.models.split import PrivateState, SharedState, SplitModel, trainable
from fedrec.privacy.clipping import clip_factors
from fedrec.privacy.mechanism import Mechanism
from fedrec.training.common_step import clipped_gradients, finite_users, summed_gradients, through_tower
from fedrec.training.draws import draw_steps
from fedrec.training.examples import Examples
from fedrec.training.factor_steps import FactorUpdates, takes_factor_steps, train_factors
from fedrec.training.id_dropout import with_hidden_ids
from fedrec.training.memory import chunks, fitting, takes_common_step, takes_plain_step
from fedrec.training.odds import Workspace
from fedrec.training.optimizers import State
from fedrec.training.own_copies import CopyUpdates, step_private, train_copies
from fedrec.training.plain_step import plain_gradients
from fedrec.training.private_start import rebuild, solve_users

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class CohortResult:
    """``total``: the sum of the users' (clipped) updates of the shared parameters. ``private``: their new state.

    ``counted``: users with an update; ``within``: those of them whose norm was at most the clip norm before it was
    clipped. A user without examples, or whose numbers are not finite, is in neither.
    """

    total: SharedState
    private: PrivateState
    counted: int
    within: int


def train_cohort(
    model: FusedRecommender,
    shared: SharedState,
    private: PrivateState,
    histories: Histories,
    seeds: NDArray[np.uint64],
    round: int,
    local: LocalConfig,
    mechanism: Mechanism | None,
    memory_mib: int = DEFAULT_MEMORY_MIB,
) -> CohortResult:
    """Train each user's own copy of ``shared`` and its ``private`` part; return the sum of the updates.

    With a ``mechanism``, each user's update is clipped to its norm over all shared tensors together before the sum
    (McMahan et al., 2018, algorithm 1), and where it says so each row of the item tables before that. Users without two
    events contribute zero; so do users for whom a number comes out that is not finite and, with a ``mechanism``, those
    whose history is too long for ``memory_mib``: nobody may decide over what others contribute. They keep their private
    state.

    ``private``: float ``[U, ...]``; ``histories``: the training events of the same ``U`` users; ``seeds``: uint64
    ``[U]``. Works on the model's device, a chunk that fits ``memory_mib`` at a time; takes and returns tensors on the
    CPU. The result does not depend on how users are divided into calls or chunks, but for float summation order.

    Raises ``MemoryBudgetError`` if a single user does not fit the budget (with a ``mechanism``, none of two events),
    ``ConfigError`` if the loss reads what the histories lack.
    """
    run = _Run(model, shared, local, mechanism, round)
    updated = {name: value.clone() for name, value in private.items()}
    by_row = mechanism is not None and mechanism.row_clip_norm is not None
    everyone = np.arange(len(histories), dtype=np.int64)
    if mechanism is not None:
        everyone = everyone[fitting(model, local, histories.lengths, memory_mib, by_row)]
    if len(everyone) < len(histories):
        logger.warning("users whose history does not fit memory_mib = %d are left out", memory_mib)
    for chunk in chunks(model, local, histories.lengths[everyone], mechanism is not None, memory_mib, by_row):
        users = everyone[chunk]
        while len(users):
            part = PrivateState({name: value[users] for name, value in private.items()})
            trained, usable = run.train(part, histories.take(users), seeds[users])
            if trained is not None:
                for name, value in trained.items():
                    updated[name][users] = value.to(CPU)
                break
            logger.warning("%d of %d users of a chunk are left out: not finite", (~usable).sum(), len(users))
            users = users[usable]  # again, without those whose numbers are not finite
    return CohortResult(total=run.total(), private=PrivateState(updated), counted=run.counted, within=run.within)


class _Run:
    """The training of one call, chunk after chunk, and the sum so far."""

    def __init__(
        self,
        model: FusedRecommender,
        shared: SharedState,
        local: LocalConfig,
        mechanism: Mechanism | None,
        round: int,
    ) -> None:
        self._model, self._local, self._round = model, local, round
        self._clip_norm = mechanism.clip_norm if mechanism else None
        self._row_clip_norm = mechanism.row_clip_norm if mechanism else None
        self.counted, self.within = 0, 0
        self._device = device_of(model)
        self._shared = with_hidden_ids(model, SharedState(on_device(shared, self._device)), local.seed, round)
        self._common = takes_common_step(model, local, self._row_clip_norm is not None)
        self._plain = takes_plain_step(model, local, mechanism is not None)
        self._workspace = Workspace()
        self._gradients: State = {}
        self._updates: State = {} if self._common else self._zeros()

    def train(
        self, private: PrivateState, histories: Histories, seeds: NDArray[np.uint64]
    ) -> tuple[PrivateState | None, NDArray[np.bool_]]:
        """Train a chunk and add its updates to the sum; return the users' new private state.

        None, and nothing added, unless all users are usable: those whose every number is finite.
        """
        local = self._local
        with torch.no_grad():
            private = self._begin(private, histories, seeds)
            steps = draw_steps(self._model, histories, seeds, self._round, local)
        if self._plain:
            return self._train_plain(private, steps)
        train = self._train_common if self._common else self._train_alone
        return train(private, steps)

    def total(self) -> SharedState:
        """Return the sum of all updates, on the CPU. The last call: what it is made of is used up."""
        self._workspace = Workspace()
        if self._common:
            gradients = through_tower(self._model, self._shared, self._gradients)
            self._updates = {name: value.mul_(-self._local.learning_rate) for name, value in gradients.items()}
            self._updates |= self._zeros(but=self._updates)
        return SharedState(on_device(self._updates, CPU))

    def _zeros(self, but: Collection[str] = ()) -> State:
        """Return an update that changes nothing, of what is trained ``but`` for some."""
        moving = trainable(self._shared)
        return {name: torch.zeros_like(value) for name, value in moving.items() if name not in but}

    def _begin(self, private: PrivateState, histories: Histories, seeds: NDArray[np.uint64]) -> PrivateState:
        """Return the private state that the steps start from, on the model's device."""
        if self._local.private_start == "rebuilt":
            with torch.enable_grad():
                return rebuild(self._model, self._shared, histories, seeds, self._round, self._local)
        if self._local.private_start == "ridge":
            return solve_users(self._model, self._shared, histories, self._local)
        return PrivateState(on_device(private, self._device))

    def _train_common(
        self, private: PrivateState, steps: list[Examples]
    ) -> tuple[PrivateState | None, NDArray[np.bool_]]:
        moves = self._local.private_start == "kept"
        given = (self._model, self._shared, private, steps[0], self._workspace)
        if self._clip_norm is None:
            found = summed_gradients(*given, private_moves=moves)
            if bool(found.usable.all()) and not _all_finite(found.summed):
                found = clipped_gradients(*given, math.inf, private_moves=moves)  # finds out whose they are
        else:
            found = clipped_gradients(*given, self._clip_norm / self._local.learning_rate, private_moves=moves)
        usable = found.usable.cpu().numpy()
        if not usable.all():
            return None, usable
        for name, value in found.summed.items():
            self._gradients[name] = self._gradients[name] + value if name in self._gradients else value
        self._count(found.within, steps)
        return step_private(private, found.private, self._local, steps[0].active), usable

    def _train_plain(
        self, private: PrivateState, steps: list[Examples]
    ) -> tuple[PrivateState | None, NDArray[np.bool_]]:
        moves = self._local.private_start == "kept"
        weight = self._local.fixed_rating_weight
        given = (self._model, self._shared, private, steps[0])
        found = plain_gradients(*given, private_moves=moves, rating_weight=weight)
        usable = found.usable.cpu().numpy()
        if not usable.all():
            return None, usable
        if not _all_finite(found.summed):
            return self._train_alone(private, steps)  # finds out whose they are
        for name, value in found.summed.items():
            self._updates[name].add_(value, alpha=-self._local.learning_rate)
        return step_private(private, found.private, self._local, steps[0].active), usable

    def _train_alone(
        self, private: PrivateState, steps: list[Examples]
    ) -> tuple[PrivateState | None, NDArray[np.bool_]]:
        moves = self._local.private_start == "kept"
        given = (self._model, self._shared, private, steps, self._local)
        updates: FactorUpdates | CopyUpdates
        if self._row_clip_norm is not None:
            updates = train_copies(*given, private_moves=moves).with_bounded_rows(self._row_clip_norm)
        elif takes_factor_steps(self._model, self._local):
            updates = train_factors(*given, private_moves=moves)
        else:
            updates = train_copies(*given, private_moves=moves)
        norms = updates.norms()
        usable = (norms.isfinite() & updates.losses.isfinite() & finite_users(updates.private, norms)).cpu().numpy()
        if not usable.all():
            return None, usable
        factors = torch.ones_like(norms) if self._clip_norm is None else clip_factors(norms, self._clip_norm)
        updates.add_to(self._updates, factors)
        self._count(norms <= (math.inf if self._clip_norm is None else self._clip_norm), steps)
        return updates.private, usable

    def _count(self, within: Tensor, steps: list[Examples]) -> None:
        active = torch.stack([step.active for step in steps]).any(0)
        self.counted += int(active.sum())
        self.within += int((within & active).sum())


def device_of(model: SplitModel) -> torch.device:
    """Return the device that the model's parameters are on."""
    return next(model.parameters()).device


def on_device(state: Mapping[str, Tensor], device: torch.device) -> State:
    """Return the tensors on ``device``."""
    return {name: value.to(device) for name, value in state.items()}


def _all_finite(state: State) -> bool:
    return all(bool(value.isfinite().all()) for value in state.values())
