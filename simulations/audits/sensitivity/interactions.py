"""The interaction-level layer under the sensitivity fuzz: one step of DP-SGD on a device, noise and coins handed in.

Unit and adjacency are its own: one interaction is taken out of its slot, all others keep their places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from fedrec.config import InteractionConfig, LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.privacy.interaction_level import interaction_mechanism
from fedrec.training.private_start import initial_private
from simulations.audits.sensitivity.catalogues import model_of, shared_of
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Bounds, Case, Sum
from simulations.audits.sensitivity.people import Person, person
from simulations.audits.sensitivity.placements import Silent

ITEMS, SLOTS = 8, 6

EMPTY = -1
"""Stands in a history where an interaction was taken out."""


class _AllChunks(Silent):
    """Without noise, and with every chunk in the batch."""

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Return zeros, float64."""
        return self.gaussian(shape)


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """One step on one device; the sum is of the gradients of its chunks, private parameters included. A ``Pipeline``.

    ``people`` are one: a cohort of one whose history loses an interaction.
    """

    model: ModelConfig
    layer: InteractionConfig

    @property
    def words(self) -> str:
        """The model and the layer."""
        return f"one step of the interaction-level layer on {'+'.join(self.model.branches)}"

    @property
    def bounds(self) -> Bounds:
        """The clip norm of a chunk."""
        return Bounds(whole=self.layer.max_grad_norm)

    def sum_of(self, people: Sequence[Person]) -> Sum:
        """Return by how much the step moved everything, over its rate and its public divisor's inverse."""
        # Opacus takes seconds to import, and only this part of an audit needs it.
        from fedrec.training.interaction import train_interactions

        model = model_of(self.model, ITEMS)
        shared = shared_of(self.model, ITEMS, "attributes", 0.3, False, 0)
        local = LocalConfig(learning_rate=1.0, private_learning_rate=1.0)
        private = initial_private(model, 1, local)
        history = Histories.from_lists([people[0].items])
        result = train_interactions(model, shared, private, history, local, self.layer, None, source=_AllChunks())
        expected = interaction_mechanism(self.model, self.layer).expected_cohort
        moved = {f"private.{name}": result.private[name] - value for name, value in private.items()}
        return {name: value * expected for name, value in {**result.total, **moved}.items()}


def interactions(layer: InteractionConfig | None) -> tuple[Interactions, ...]:
    """Return the layer as ``layer`` sets it, for models of tied tables."""
    small = (layer or InteractionConfig()).model_copy(update={"chunk_length": 3, "max_grad_norm": 0.01})
    models = (("cf", "mf"), ("seq",))
    settings = {"dim": 4, "history_length": SLOTS, "dropout": 0.0}
    return tuple(
        Interactions(model=ModelConfig.model_validate({**settings, "branches": names}), layer=small) for names in models
    )


def crafted_cases(layers: Sequence[Interactions]) -> Iterator[Case]:
    """Yield full histories that lose each of their interactions."""
    for layer in layers:
        for items in ([0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0]):
            yield from (_without(layer, person("device", items), slot) for slot in (0, 4, 5))


def draw_interaction_case(draw: Draw, layers: Sequence[Interactions]) -> Case:
    """Draw a history and which of its latest interactions goes."""
    items = draw.integers(0, ITEMS - 1, most=2 * SLOTS) or [0]
    return _without(draw.one_of(layers), person("device", items), draw.integer(0, len(items) - 1))


def _without(layer: Interactions, one: Person, slot: int) -> Case:
    less = replace(one, items=(*one.items[:slot], EMPTY, *one.items[slot + 1 :]))
    return Case(pipeline=layer, people=(one,), chosen=0, other=less, way="emptied")
