"""Broken variants of what bounds one user's contribution, and of what the server makes of the sum."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from clients import contributions
from fedrec.data.histories import Histories
from fedrec.evaluation.rank_histogram import histogram_rows
from fedrec.flower.folding import Fold
from fedrec.flower.releases import Releases
from fedrec.flower.wire import RANKS
from fedrec.models.split import PrivateState, SharedState
from fedrec.privacy.clipping import clip_factors, user_norms
from fedrec.privacy.release import release
from fedrec.rounds import Contribution
from fedrec.statistics.collection import statistic_shares, statistics_sum
from fedrec.training.cohort import _Run
from fedrec.training.common_step import clipped_gradients
from fedrec.training.content_norms import ContentNorms
from fedrec.training.factor_steps import FactorUpdates, train_factors
from fedrec.training.ghost_norms import GhostNorms
from fedrec.training.negatives import draw_negatives
from fedrec.training.own_copies import CopyUpdates
from fedrec.training.scoring import score_users
from tests.simulations.audits.mutants.mutant import Mutant, replacing

CLIPS = ("fedrec.training.cohort.clip_factors", "fedrec.training.common_step.clip_factors")
TRAINING = frozenset(
    f"sensitivity-of-{path}" for path in ("this-run", "common-steps", "factor-steps", "own-copies", "row-clips")
)
"""Checks of updates: of whichever path the mutant breaks, and of the run's own."""
SERVER = frozenset({"bounded-replies", "public-divisor"})


def _all(targets: Sequence[str], other: Any) -> Callable[[], AbstractContextManager[None]]:
    return replacing(**dict.fromkeys(targets, other))


def _of(*paths: str) -> frozenset[str]:
    return frozenset(f"sensitivity-of-{path}" for path in paths)


# --- clips that are none ------------------------------------------------------------------------------------------
def _everything(norms: Tensor, clip_norm: float) -> Tensor:
    return torch.ones_like(norms)


def _looser(norms: Tensor, clip_norm: float) -> Tensor:
    return clip_factors(norms, 1.5 * clip_norm)


def _of_the_batch(norms: Tensor, clip_norm: float) -> Tensor:
    """Clip to the median of the batch where that is larger: the bound itself then depends on people."""
    median = float(norms[norms.isfinite()].median()) if len(norms) else clip_norm
    return clip_factors(norms, max(clip_norm, median))


def _longest_tensor(updates: Mapping[str, Tensor]) -> Tensor:
    """Return the norm of each user's longest tensor instead of that of all tensors together."""
    return torch.stack([user_norms({name: value}) for name, value in updates.items()]).max(dim=0).values


@contextmanager
def _weighted_after_the_clip() -> Iterator[None]:
    """Weigh clipped updates by how many events their users have."""
    lengths: list[np.ndarray] = []
    train = _Run.train

    def noting(self: _Run, private: Any, histories: Histories, seeds: Any) -> Any:
        lengths[:] = [histories.lengths]
        return train(self, private, histories, seeds)

    def weighted(norms: Tensor, clip_norm: float) -> Tensor:
        return clip_factors(norms, clip_norm) * torch.from_numpy(lengths[0]).to(norms.dtype)

    with patch.object(_Run, "train", noting), _all(CLIPS, weighted)():
        yield


@contextmanager
def _clipped_mean() -> Iterator[None]:
    """Clip the sum of a node to what its users may have together, and no user."""
    total = _Run.total

    def bounded(self: _Run) -> SharedState:
        found = total(self)
        norm = float(user_norms({name: value[None] for name, value in found.items()}))
        most = (self._clip_norm or norm) * max(self.counted, 1)
        return SharedState({name: value * min(1.0, most / max(norm, 1e-30)) for name, value in found.items()})

    with patch.object(_Run, "total", bounded), _all(CLIPS, _everything)():
        yield


class _RowsAlone(CopyUpdates):
    """Updates whose rows are bounded, and whose norms nobody asks for."""

    def norms(self) -> Tensor:
        return torch.zeros(len(self.losses), dtype=torch.float64)


def _with_bounded_rows_alone(self: CopyUpdates, row_clip_norm: float) -> CopyUpdates:
    bounded = _with_bounded_rows(self, row_clip_norm)
    return _RowsAlone(**{name: getattr(bounded, name) for name in ("moved", "private", "losses", "rows", "tables")})


_with_bounded_rows = CopyUpdates.with_bounded_rows


# --- norms that leave something out -------------------------------------------------------------------------------
_see, _close = GhostNorms.see, GhostNorms.close


def _without_output(self: GhostNorms, block: slice) -> None:
    """Leave the output part of a tied table out, as layer-wise ghost clipping does."""
    squares, terms = self._squares[block].clone(), self._terms[block].clone()
    _see(self, block)
    if self._tied:
        self._squares[block], self._terms[block] = squares, terms
        self._met[-1] = torch.zeros_like(self._met[-1])


def _without_ties(self: GhostNorms, small: Any, events: Tensor | None) -> Tensor:
    """Leave out what flows back into a tied table through the history's rows."""
    return _close(self, small, None)


def _without_products(self: GhostNorms, small: Any, events: Tensor | None) -> Tensor:
    """Take a tied table's two parts for orthogonal."""
    self._met = [torch.zeros_like(met) for met in self._met]
    return _close(self, small, events)


def _nothing_of_content(self: ContentNorms, events: Tensor | None) -> Tensor:
    return torch.zeros(len(self._parts[0]._of_kinds), dtype=torch.float64)


def _gradient_instead_of_update(*arguments: Any, **rest: Any) -> Any:
    """Clip the gradient to what is meant for the update, which is the learning rate times it."""
    *others, bound = arguments
    return clipped_gradients(*others, bound * 20.0, **rest)


def _nobody_is_dropped(*arguments: Any, **rest: Any) -> Any:
    found = clipped_gradients(*arguments, **rest)
    return replace(found, usable=torch.ones_like(found.usable))


class _Believed(FactorUpdates):
    """Updates that are taken for zero where they are no numbers, and are not dropped."""

    def norms(self) -> Tensor:
        return _factor_norms(self).nan_to_num(0.0, 0.0)


_factor_norms = FactorUpdates.norms


def _believed(*arguments: Any, **rest: Any) -> FactorUpdates:
    found = train_factors(*arguments, **rest)
    fields = {name: getattr(found, name) for name in ("slopes", "users", "scale", "rows")}
    private = {name: value.nan_to_num() for name, value in found.private.items()}
    return _Believed(**fields, private=PrivateState(private), losses=found.losses.nan_to_num(0.0, 0.0))


# --- users who are not alone --------------------------------------------------------------------------------------
def _in_batch_negatives(histories: Histories, seeds: Any, stream: Any, count: int, num_items: int) -> Any:
    """Take negatives from what the others of the batch have met."""
    drawn, met = draw_negatives(histories, seeds, stream, count, num_items)
    for user in range(len(histories)):
        others = np.concatenate([histories[other] for other in range(len(histories)) if other != user] or [[]])
        if len(others):
            drawn[user] = np.resize(others[::-1], count)
    return drawn, met


_add_to = CopyUpdates.add_to


def _centred(self: CopyUpdates, total: Any, factors: Tensor) -> None:
    """Take the batch's mean from each update, as a normalisation over the batch would."""
    moved = {name: value - value.mean(0, keepdim=True) for name, value in self.moved.items()}
    _add_to(replace(self, moved=moved), total, factors)


def _one_fails_all(task: Any, store: Any) -> Iterator[SharedState]:
    """Rank as before users whose scores are not finite were left out: one of them fails the node."""
    model = contributions.model_for(task, store)
    for own, before, target in contributions._held(task, store, task.local.asked, after=task.local.held_back):
        targets = Histories(target.astype(np.int32), np.arange(len(target) + 1))
        rows = histogram_rows(score_users(model, task.shared, own, before), before, targets)
        yield SharedState({RANKS: torch.from_numpy(rows.sum(0))})


@contextmanager
def _failing_together() -> Iterator[None]:
    with patch.dict(contributions._PARTS, {Contribution.RANKS: _one_fails_all}):
        yield


# --- other contributions ------------------------------------------------------------------------------------------
def _statistics_apart(config: Any) -> dict[str, float]:
    """Give each statistic the whole norm."""
    return dict.fromkeys(statistic_shares(config), 1.0)


def _unbounded_statistics(config: Any, histories: Histories, num_items: int, mechanism: Any) -> dict[str, Tensor]:
    return statistics_sum(config, histories, num_items, None)


def _plain_sum(updates: Mapping[str, Tensor], clip_norm: float) -> SharedState:
    return SharedState({name: value.sum(0) for name, value in updates.items()})


def _bounds_of_one_item(users: Tensor, products: Tensor, counts: Tensor, norm: float) -> Tensor:
    """Bound what a user adds to one item, however many items it has."""
    norms = (products.square().sum(1) + users.square().sum(1)).sqrt()
    return (norm / norms.clamp(min=1e-30)).clamp(max=1.0)


def _roundtrip(update: SharedState, codec: Any, clip_norm: float) -> SharedState:
    """Code and decode without looking at the norm again."""
    decoded: SharedState = codec.decode(codec.encode(update), update)
    return decoded


def _whole_counts(within: int, counted: int) -> Tensor:
    """Count users within the clip norm without taking one half from each."""
    return torch.tensor([within], dtype=torch.float32)


# --- the server ---------------------------------------------------------------------------------------------------
_decoded, _fold_close, _make = Fold._decoded, Fold.close, Releases.make


def _weighted_reply(self: Fold, reply: Any, asked: Any) -> SharedState:
    """Weigh each node's sum by its number of users once more."""
    return SharedState({name: value * reply.num_users for name, value in _decoded(self, reply, asked).items()})


@contextmanager
def _normalised_by_the_cohort() -> Iterator[None]:
    """Divide by how many users came instead of by how many are expected."""
    came = [0]

    def noting(self: Fold) -> Any:
        tally = _fold_close(self)
        came[0] = tally.num_users
        return tally

    def divided(self: Releases, total: SharedState, round: int, *rest: Any) -> SharedState:
        mechanism = self.mechanism(round)
        assert mechanism is not None
        share = mechanism.expected_cohort / max(came[0], 1)
        return _make(self, SharedState({name: value * share for name, value in total.items()}), round, *rest)

    with patch.object(Fold, "close", noting), patch.object(Releases, "make", divided):
        yield


def _divided_by_rows(total: SharedState, mechanism: Any, *rest: Any) -> SharedState:
    """Divide by how many rows of the sum somebody touched, which is private."""
    rows = sum(int((value.reshape(len(value), -1) != 0).any(1).sum()) for value in total.values())
    mean = release(total, mechanism, *rest)
    return SharedState({name: value * mechanism.expected_cohort / max(rows, 1) for name, value in mean.items()})


MUTANTS: tuple[Mutant, ...] = (
    Mutant("clip off", _all(CLIPS, _everything), TRAINING),
    Mutant("clip half as tight again", _all(CLIPS, _looser), TRAINING),
    Mutant("clip norm read off the batch", _all(CLIPS, _of_the_batch), TRAINING),
    Mutant("clip a tensor", replacing(**{"fedrec.training.own_copies.user_norms": _longest_tensor}), TRAINING),
    Mutant("clip before weighting by events", _weighted_after_the_clip, TRAINING),
    Mutant("clip of the mean instead of each user", _clipped_mean, TRAINING),
    Mutant(
        "row clip without the whole clip",
        replacing(**{"fedrec.training.own_copies.CopyUpdates.with_bounded_rows": _with_bounded_rows_alone}),
        _of("row-clips"),
    ),
    Mutant(
        "whole clip without the row clip",
        replacing(**{"fedrec.training.own_copies.clip_rows": lambda updates, row_clip_norm: updates}),
        _of("row-clips", "this-run"),
    ),
    Mutant(
        "tied table's output part out of the ghost norm",
        replacing(**{"fedrec.training.ghost_norms.GhostNorms.see": _without_output}),
        _of("common-steps", "this-run"),
    ),
    Mutant(
        "tied table's history part out of the ghost norm",
        replacing(**{"fedrec.training.ghost_norms.GhostNorms.close": _without_ties}),
        _of("common-steps", "this-run"),
    ),
    Mutant(
        "tied table's parts taken for orthogonal",
        replacing(**{"fedrec.training.ghost_norms.GhostNorms.close": _without_products}),
        _of("common-steps", "this-run"),
    ),
    Mutant(
        "what float32 flushes to zero out of the norms",
        replacing(
            **{
                f"fedrec.training.{path}.{name}": other
                for path in ("ghost_norms", "factor_steps")
                for name, other in (("LEAST", 0.0), ("flushed", lambda summed, beside: 0.0))
            }
        ),
        _of("common-steps", "factor-steps"),
    ),
    Mutant(
        "content networks out of the ghost norm",
        replacing(**{"fedrec.training.content_norms.ContentNorms.close": _nothing_of_content}),
        _of("common-steps", "this-run"),
    ),
    Mutant(
        "clip of the gradient instead of the update",
        replacing(**{"fedrec.training.cohort.clipped_gradients": _gradient_instead_of_update}),
        _of("common-steps", "this-run"),
    ),
    Mutant(
        "user of no number not dropped",
        replacing(**{"fedrec.training.cohort.clipped_gradients": _nobody_is_dropped}),
        _of("common-steps", "this-run"),
    ),
    Mutant(
        "user of no number not dropped, of several steps",
        replacing(**{"fedrec.training.cohort.train_factors": _believed}),
        _of("factor-steps"),
    ),
    Mutant(
        "in-batch negatives",
        replacing(**{"fedrec.training.draws.draw_negatives": _in_batch_negatives}),
        _of("factor-steps", "own-copies", "this-run"),
    ),
    Mutant(
        "updates centred on the batch",
        replacing(**{"fedrec.training.own_copies.CopyUpdates.add_to": _centred}),
        TRAINING,
    ),
    Mutant("one user fails the node", _failing_together, _of("evaluation")),
    Mutant(
        "statistics bounded one by one",
        replacing(**{"fedrec.statistics.collection.statistic_shares": _statistics_apart}),
        _of("statistics"),
    ),
    Mutant(
        "statistics unbounded",
        _all(
            ("fedrec.statistics.collection.statistics_sum", "clients.contributions.statistics_sum"),
            _unbounded_statistics,
        ),
        _of("statistics"),
    ),
    Mutant(
        "fusion's gradients unbounded",
        replacing(**{"fedrec.training.calibration.clip_and_sum": _plain_sum}),
        _of("fusion-weights"),
    ),
    Mutant(
        "item solves bounded an item",
        replacing(**{"fedrec.members.implicit_als._bounds": _bounds_of_one_item}),
        _of("item-solves"),
    ),
    Mutant(
        "coded after the clip and not looked at again",
        replacing(**{"clients.encoding.bounded_roundtrip": _roundtrip}),
        _of("coded-updates"),
    ),
    Mutant(
        "whole counts of users within the clip norm",
        replacing(**{"clients.contributions.within_tensor": _whole_counts}),
        _of("coded-updates"),
    ),
    Mutant("replies weighted", replacing(**{"fedrec.flower.folding.Fold._decoded": _weighted_reply}), SERVER),
    Mutant(
        "replies of any norm taken",
        replacing(**{"fedrec.flower.folding._norm": lambda state: 0.0}),
        frozenset({"bounded-replies"}),
    ),
    Mutant("mean over the cohort that came", _normalised_by_the_cohort, frozenset({"public-divisor"})),
    Mutant(
        "private row count in the divisor",
        replacing(**{"fedrec.flower.releases.release": _divided_by_rows}),
        frozenset({"public-divisor"}),
    ),
)
