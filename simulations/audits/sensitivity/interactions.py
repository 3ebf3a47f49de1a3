"""The interaction-level layer under the sensitivity fuzz: one step of DP-SGD on a device, noise and coins handed in.

Unit and adjacency are its own: one interaction is taken out of its slot, all others keep their places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from fedrec.config import InteractionConfig, LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.privacy.interaction_level import interaction_mechanism
from fedrec.privacy.mechanism import Mechanism
from fedrec.training.private_start import initial_private
from simulations.audits.sensitivity.catalogues import model_of, shared_of
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Bounds, Case, Sum
from simulations.audits.sensitivity.people import Person, crowd, person
from simulations.audits.sensitivity.placements import Silent

ITEMS, SLOTS = 8, 6

RATES = LocalConfig(learning_rate=1.0, private_learning_rate=1.0)
"""By which a step moves everything by its gradients."""

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

    ``people`` are one whose history loses an interaction; or with a ``clip_norm`` those of a node, of whom each is
    bounded as a whole, and of whom one goes.
    """

    model: ModelConfig
    layer: InteractionConfig
    clip_norm: float | None = None

    @property
    def words(self) -> str:
        """The model and the layer."""
        whole = f", users clipped to {self.clip_norm:g}" if self.clip_norm else ""
        return f"one step of the interaction-level layer on {'+'.join(self.model.branches)}{whole}"

    @property
    def bounds(self) -> Bounds:
        """The clip norm of a chunk, or of a user."""
        return Bounds(whole=self.clip_norm or self.layer.max_grad_norm)

    def sum_of(self, people: Sequence[Person]) -> Sum:
        """Return by how much the step moved everything, in units of its gradients; or the sum over users."""
        # Opacus takes seconds to import, and only this part of an audit needs it.
        from fedrec.training.interaction import train_interactions

        model = model_of(self.model, ITEMS)
        private = initial_private(model, len(people), RATES)
        result = train_interactions(
            model,
            shared_of(self.model, ITEMS, "attributes", 0.3, False, 0),
            private,
            Histories.from_lists([one.items for one in people]),
            RATES,
            self.layer,
            self._mechanism,
            source=_AllChunks(),
        )
        if self.clip_norm:
            return result.total
        expected = interaction_mechanism(self.model, self.layer).expected_cohort
        moved = {f"private.{name}": result.private[name] - value for name, value in private.items()}
        return {name: value * expected for name, value in {**result.total, **moved}.items()}

    @property
    def _mechanism(self) -> Mechanism | None:
        if self.clip_norm is None:
            return None
        return Mechanism(clip_norm=self.clip_norm, noise_multiplier=1.0, sample_rate=1.0, population=10)


def interactions(layer: InteractionConfig | None) -> tuple[Interactions, ...]:
    """Return the layer as ``layer`` sets it, for models of tied tables."""
    small = (layer or InteractionConfig()).model_copy(update={"chunk_length": 3, "max_grad_norm": 0.01})
    models = (("cf", "mf"), ("seq",))
    settings = {"dim": 4, "history_length": SLOTS, "dropout": 0.0}
    return tuple(
        Interactions(model=ModelConfig.model_validate({**settings, "branches": names}), layer=small) for names in models
    )


def crafted_interactions(layers: Sequence[Interactions]) -> Iterator[Case]:
    """Yield full histories that lose one of their interactions, and users of a node of whom one goes."""
    for layer in layers:
        for items in ([0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0]):
            yield from (_without(layer, person("device", items), slot) for slot in (0, 4, 5))
    people = (person("odd", [0, 1, 2, 3, 4, 5]), *crowd(1, ITEMS))
    yield Case(pipeline=replace(layers[0], clip_norm=1e-4), people=people, chosen=0)


def draw_interaction_case(draw: Draw, layers: Sequence[Interactions]) -> Case:
    """Draw a history and which of its latest interactions goes."""
    items = draw.integers(0, ITEMS - 1, most=2 * SLOTS) or [0]
    return _without(draw.one_of(layers), person("device", items), draw.integer(0, len(items) - 1))


def _without(layer: Interactions, one: Person, slot: int) -> Case:
    less = replace(one, items=(*one.items[:slot], EMPTY, *one.items[slot + 1 :]))
    return Case(pipeline=layer, people=(one,), chosen=0, other=less, way="emptied")
