"""The training paths of ``fedrec.training.cohort`` under the sensitivity fuzz."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedrec.config import LocalConfig, ModelConfig
from fedrec.models.split import PrivateState, SharedState
from fedrec.privacy.mechanism import Mechanism
from fedrec.training import cohort
from fedrec.training.head_rows import ITEM_PARAMETERS
from fedrec.training.optimizers import parameters_of
from fedrec.training.private_start import initial_private
from fedrec.training.randomness import normals
from simulations.audits.sensitivity.catalogues import Content, model_of, shared_of
from simulations.audits.sensitivity.neighbours import Bounds, Sum
from simulations.audits.sensitivity.people import Person, histories_of, seeds_of

_PRIVATE_STREAM = 0x5E1
"""Separates the people's private parameters from other draws of the same seed."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One round of local training of a cohort, each user clipped. A ``Pipeline``.

    ``spread``: how far parameters are from fresh ones; ``scale``: what all are multiplied with then. ``huge``: whether
    one item's vectors overflow.
    """

    model: ModelConfig
    local: LocalConfig
    clip_norm: float = 0.01
    row_clip_norm: float | None = None
    num_items: int = 8
    content: Content = "attributes"
    spread: float = 0.3
    scale: float = 1.0
    huge: bool = False
    seed: int = 0
    kinds: tuple[str, ...] = field(default=("busy",), compare=False)
    """Crafted people who tell most about this setting, best first."""

    @property
    def words(self) -> str:
        """The model and how it is trained."""
        steps = f"{self.local.epochs} passes" if self.local.epochs else f"{self.local.steps} steps"
        steps = "one step" if self.local.steps == 1 and not self.local.epochs else steps
        rows = f", rows clipped to {self.row_clip_norm:g}" if self.row_clip_norm else ""
        huge = ", one item's vectors of them overflowing" if self.huge else ""
        tiny = f", parameters times {self.scale:g}" if self.scale != 1 else ""
        encoder = f" ({self.model.sequence_encoder})" if "seq" in self.model.branches else ""
        return (
            f"a model of {'+'.join(self.model.branches)}{encoder} over {self.num_items} items{huge}{tiny}, trained by "
            f"{steps} of {self.local.optimizer} on {self.local.loss}, clipped to {self.clip_norm:g}{rows}"
        )

    @property
    def bounds(self) -> Bounds:
        """The clip norms."""
        return Bounds(whole=self.clip_norm, row=self.row_clip_norm, tables=frozenset(ITEM_PARAMETERS))

    @property
    def mechanism(self) -> Mechanism:
        """Central noise of whatever size: none is added here."""
        return Mechanism(
            clip_norm=self.clip_norm,
            noise_multiplier=1.0,
            sample_rate=1.0,
            population=100,
            row_clip_norm=self.row_clip_norm,
        )

    @property
    def endless(self) -> bool:
        """Whether people of a thousand events may come: passes over them would take long."""
        return self.local.epochs == 0

    def sum_of(self, people: Sequence[Person]) -> Sum:
        """Return the sum of the people's clipped updates."""
        model = model_of(self.model, self.num_items, self.content)
        drawn = shared_of(self.model, self.num_items, self.content, self.spread, self.huge, self.seed)
        shared = SharedState({name: value * self.scale for name, value in drawn.items()})
        rated = self.local.loss == "mse" or self.model.rating_head
        return cohort.train_cohort(
            model,
            shared,
            self.private_of(people),
            histories_of(people, rated=rated),
            seeds_of(people, self.seed),
            1,
            self.local,
            self.mechanism,
        ).total

    def private_of(self, people: Sequence[Person]) -> PrivateState:
        """Return the people's private parameters, each a function of its person alone."""
        fresh = initial_private(model_of(self.model, self.num_items, self.content), len(people), self.local)
        seeds = seeds_of(people, self.seed)
        moved: dict[str, Tensor] = dict(fresh)
        for number, (name, value) in enumerate(sorted(parameters_of(fresh).items())):
            size = value[:1].numel() if len(people) else 0
            drawn = normals(seeds, (_PRIVATE_STREAM, number), size)
            moved[name] = self.scale * (value + self.spread * torch.from_numpy(drawn).reshape(value.shape))
        return PrivateState(moved)
