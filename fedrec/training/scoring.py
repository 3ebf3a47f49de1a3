"""Scores of the whole catalogue for users, on the device that holds their histories."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.members.registry import score_member
from fedrec.models.autoencoder import DECODER
from fedrec.models.fusion import FACTORS, NUM_DROPOUT_MASKS, VECTORS, FusedRecommender, scores, tables_of
from fedrec.models.mixing import deviation, mixed_names, standardised, user_weights
from fedrec.models.neumf import PRODUCT
from fedrec.models.split import MEMBERS, MIXING, PrivateState, SharedState, mixing_part
from fedrec.training.cohort import CPU, device_of, on_device
from fedrec.training.examples import recent_events
from fedrec.training.optimizers import parameters_of
from fedrec.training.private_start import rebuild, solve_users
from fedrec.training.start import NEIGHBOURS

CHUNK_USERS = 512

TRAINED = "trained"
"""Name of the trained branches' sum beside them."""

NEW_USER_STEPS, NEW_USER_RATE = 5, 0.03
"""Few and small: of a user with three events more steps learn those three by heart (docs/evaluation.md)."""


def branch_scores(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> dict[str, NDArray[np.float32]]:
    """Return what each branch and member adds to the scores after the latest event, float32 ``[U, num_items]``.

    They add up to the scores. With members, the branches' parts are those of their standardised sum.
    """
    here = SharedState(on_device(shared, device_of(model)))
    parts = [_parts(model, here, *chunk) for chunk in _chunks(private, histories)]
    if not parts:
        empty = np.empty((0, model.num_items), np.float32)
        return dict.fromkeys([*model.config.branches, *model.config.members], empty)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def alone_scores(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> dict[str, NDArray[np.float32]]:
    """Return the scores of each branch and member as if there were no other, and of the branches' sum (``trained``).

    Float32 ``[U, num_items]`` each; members standardised, branches as they are.
    """
    here = SharedState(on_device(shared, device_of(model)))
    parts: list[dict[str, Tensor]] = []
    for chunk in _chunks(private, histories):
        trained = _scores(model, here, *chunk)
        total = {TRAINED: torch.stack(list(trained.values())).sum(0)} if trained else {}
        parts.append({**trained, **total, **_member_scores(model, here, chunk[1])})
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]} if parts else {}


def standard_scores(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> Tensor:
    """Return the standard scores of all that is mixed (``mixed_names``), float32 ``[U, num_mixed, num_items]``."""
    here = SharedState(on_device(shared, device_of(model)))
    chunks = [_standard(model, here, *chunk) for chunk in _chunks(private, histories)]
    if not chunks:
        return torch.empty(0, len(mixed_names(model.config)), model.num_items)
    return torch.cat([torch.stack(list(chunk.values()), dim=1) for chunk in chunks])


def score_users(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> NDArray[np.float32]:
    """Return the fused scores after the latest event, float32 ``[U, num_items]``."""
    branches = branch_scores(model, shared, private, histories)
    fused: NDArray[np.float32] = np.stack(list(branches.values())).sum(axis=0, dtype=np.float32)
    return fused


def fold_in(
    model: FusedRecommender,
    shared: SharedState,
    history: Histories,
    local: LocalConfig | None = None,
    seeds: NDArray[np.uint64] | None = None,
) -> PrivateState:
    """Return private state fitted to histories, the shared parameters held still.

    For users never seen before, and for runs that keep no private state (``private_start`` other than ``kept``).
    Deterministic; ``seeds``, one a user, choose the draws from histories longer than a window. Post-processing of what
    was released, on the user's own device: it spends no privacy.
    """
    local = local or LocalConfig(private_steps=NEW_USER_STEPS, private_learning_rate=NEW_USER_RATE)
    shared = SharedState(on_device(shared, device_of(model)))
    if local.private_start == "ridge":
        return PrivateState(on_device(solve_users(model, shared, history, local), CPU))
    seeds = np.arange(len(history), dtype=np.uint64) if seeds is None else seeds
    return PrivateState(on_device(rebuild(model, shared, history, seeds, 0, local), CPU))


def item_vectors(model: FusedRecommender, shared: SharedState) -> NDArray[np.float32]:
    """Return item vectors that lie near each other where the model treats items alike, float32 ``[num_items, ...]``.

    Of the neighbours branch where there is one, since it then carries the model: the part of its similarity that is an
    inner product. Else the item tower's, or where no branch has a tower those of mf, neumf or the autoencoder.
    """
    if NEIGHBOURS + "vectors" in shared:
        lengths = shared[NEIGHBOURS + "spectrum"].clamp(min=0).sqrt()
        released: NDArray[np.float32] = (shared[NEIGHBOURS + "vectors"] * lengths).numpy()
        return released
    with torch.no_grad():
        tables = tables_of(model, shared)
    if not tables:  # members alone: items are alike that follow from alike histories
        own = [value for name, value in shared.items() if name.startswith(MEMBERS)]
        rows = [value for value in own if value.dim() == 2 and len(value) == model.num_items]
        return (rows[0] if rows else torch.zeros(model.num_items, 1)).numpy()
    name = next(name for name in (VECTORS, FACTORS, PRODUCT, DECODER) if name in tables)
    vectors: NDArray[np.float32] = tables[name].cpu().numpy()
    return vectors


def _chunks(private: PrivateState, histories: Histories) -> list[tuple[PrivateState, Histories]]:
    everyone = np.arange(len(histories), dtype=np.int64)
    slices = [everyone[start : start + CHUNK_USERS] for start in range(0, len(everyone), CHUNK_USERS)]
    return [(PrivateState({n: v[users] for n, v in private.items()}), histories.take(users)) for users in slices]


def _parts(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> dict[str, NDArray[np.float32]]:
    """Return what each branch and member adds to the scores."""
    config, trained = model.config, _scores(model, shared, private, histories)
    if not config.members:
        return {name: scores.numpy() for name, scores in trained.items()}
    mixing = {name.removeprefix(MIXING): value.cpu() for name, value in mixing_part(shared).items()}
    weights = user_weights(config, mixing, torch.from_numpy(histories.lengths))
    parts = {**_standard_branches(trained), **_member_scores(model, shared, histories)}
    return {name: (weights[:, [at]] * parts[name]).numpy() for at, name in enumerate(mixed_names(config))}


def _standard(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> dict[str, Tensor]:
    """Return standard scores by name, in the order of ``mixed_names``."""
    trained = _standard_branches(_scores(model, shared, private, histories))
    return {**trained, **_member_scores(model, shared, histories)}


def _standard_branches(trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the branches' parts of their standardised sum."""
    if not trained:
        return {}
    spread = deviation(torch.stack(list(trained.values())).sum(0))
    return {name: (scores - scores.mean(1, keepdim=True)) / spread for name, scores in trained.items()}


def _member_scores(model: FusedRecommender, shared: SharedState, histories: Histories) -> dict[str, Tensor]:
    here = on_device(shared, CPU)
    return {name: standardised(score_member(name, here, histories, model.config)) for name in model.config.members}


def _scores(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> dict[str, Tensor]:
    """Return the trained branches' weighted scores, float32 ``[U, num_items]``, on the CPU."""
    if not model.config.branches:
        return {}
    device = device_of(model)
    recent = recent_events(histories, model.config.history_length, device)
    keep = torch.ones(len(histories), NUM_DROPOUT_MASKS, model.config.dim, device=device)
    state = {f"shared.{name}": value for name, value in shared.items()}
    state |= {f"private.{name}": value for name, value in on_device(parameters_of(private), device).items()}
    users = torch.arange(len(histories), device=device)
    found = {}
    with torch.no_grad():
        asked, tables = functional_call(model, state, (recent.history, recent.mask, keep))
        for branch, queries in asked.queries.items():
            last = {
                name: (query if query.shape[1] == 1 else query[users, recent.last][:, None])
                for name, query in queries.items()
            }
            found[str(branch)] = (asked.weight(branch) * scores(last, tables))[:, 0].cpu()
    return found
