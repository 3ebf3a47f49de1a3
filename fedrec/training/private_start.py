"""Private parameters made anew from a user's own history, the shared parameters held still.

Post-processing of what was released, on the user's own device: it spends no privacy.
"""

import numpy as np
from numpy.typing import NDArray

from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.members import implicit_als
from fedrec.models.fusion import FACTORS, VECTORS, FusedRecommender, tables_of
from fedrec.models.split import PrivateState, SharedState, SplitModel
from fedrec.training.common_step import summed_gradients
from fedrec.training.draws import draw_step
from fedrec.training.odds import Workspace
from fedrec.training.optimizers import initial_memory
from fedrec.training.own_copies import step_private, train_copies

_REBUILDING = 1_000_000
"""Where the step numbers of rebuilding begin, so that its draws are other than those of training."""

_EMBEDDING = "user.embedding"


def initial_private(model: SplitModel, num_users: int, local: LocalConfig | None = None) -> PrivateState:
    """Return the private state of users who never trained: parameters and the optimiser's memory, ``[U, ...]``."""
    template = model.private_template()
    state = {name: value.expand(num_users, *value.shape[1:]).clone() for name, value in template.items()}
    return PrivateState({**state, **initial_memory((local or LocalConfig()).private_optimizer, state)})


def rebuild(
    model: FusedRecommender,
    shared: SharedState,
    histories: Histories,
    seeds: NDArray[np.uint64],
    round: int,
    local: LocalConfig,
) -> PrivateState:
    """Return private state fitted by ``local.private_steps`` steps from the template, on the model's device.

    Federated Reconstruction's local step (Singhal et al., 2021, algorithm 1). Deterministic in its arguments, without
    dropout. Users of fewer than two events keep the template.
    """
    device = next(model.parameters()).device
    state = initial_private(model, len(histories), local)
    private = PrivateState({name: value.to(device) for name, value in state.items()})
    if not private:
        return private
    workspace = Workspace()
    for step in range(local.private_steps):
        batch = draw_step(model, histories, seeds, (round, _REBUILDING + step), local, dropout=0.0)
        if local.loss == "softmax" and model.is_bilinear:
            gradients = summed_gradients(model, shared, private, batch, workspace).private
            private = step_private(private, gradients, local, batch.active)
        else:
            private = train_copies(model, shared, private, [batch], local, shared_moves=False).private
    return private


def solve_users(model: FusedRecommender, shared: SharedState, histories: Histories, local: LocalConfig) -> PrivateState:
    """Return private state whose user embeddings are solved in closed form, the rest as the template has it.

    ``argmin_u sum_{i in history} (1 - p_i u)^2 + ridge_unobserved sum_i (p_i u)^2 + ridge |u|^2`` over distinct items,
    with ``p`` the mf branch's item vectors (implicit ALS' user step: Hu et al., 2008, equation 4).
    """
    tables = tables_of(model, shared)
    items = tables[FACTORS if FACTORS in tables else VECTORS]
    weights = implicit_als.Weights(
        unobserved=local.ridge_unobserved, regularisation=local.ridge, frequency_exponent=0.0
    )
    users = implicit_als.solve_users(items, histories, weights)
    state = initial_private(model, len(histories), local)
    return PrivateState({**{name: value.to(items.device) for name, value in state.items()}, _EMBEDDING: users})
