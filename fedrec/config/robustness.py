"""What a server does about clients who lie: rules, bounds and alarms."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fedrec.config.section import Positive, Rate, Section

RuleName = Literal["mean", "trimmed-mean", "median", "krum", "multi-krum", "geometric-median"]

GUARDED: Mapping[str, object] = {
    "clip_norm": 2.0,
    "items_clip_norm": 0.7,
    "row_clip_norm": 0.3,
    "growth": 1.5,
    "watch_every": 5,
    "exclude_rounds": 50,
}
"""Bounds, and a look at every fifth step, for runs whose devices are strangers'. docs/robustness.md has what they hold
and what they cost; the bounds on lengths are for the default local training."""


class RobustnessConfig(Section):
    """How replies are aggregated, and what is watched (``fedrec.aggregation``)."""

    preset: Literal["guarded"] | None = None
    """``guarded`` is a word for ``GUARDED``: what is not set beside it is as there, and it is None from then on."""
    rule: RuleName = "mean"
    """How replies become one; ``mean`` alone can be released under central noise."""
    liars: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Share of nodes that ``trimmed-mean`` cuts at each end, and that ``krum`` and ``multi-krum`` take to lie."""
    clip_norm: Positive | None = None
    """Bound of one user's whole update in runs without user-level privacy, whose own bound takes its place; None for
    none. Of a node that speaks for several users it is their sum that is bounded, by as many times as much. The median
    of honest updates of the default local training is 1.7 on MovieLens-100K, the largest 3.4: change it with
    ``training.local``."""
    row_clip_norm: Positive | None = None
    """The same of one user's change of one item, over all item tables together. The median of honest users'
    largest changes is 0.13 there."""
    items_clip_norm: Positive | None = None
    """The same of one user's change of all item tables together. The median of honest users' is 0.65 there, of which
    the whole update's 1.7 leave much room to who changes nothing but items."""
    aggregate_row_norm: Positive | None = None
    """The same of the mean update's change of one item."""
    supporters: Annotated[int, Field(ge=0)] = 0
    """Nodes that must have moved an item, else its row stays as it is in that round; 0 for no such minimum."""
    owner_share: Rate = 1.0
    """Largest share of all users that one owner's devices may stand for; 1 for no bound."""
    growth: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """How many times as long as those of items of like popularity an item's row may become; None for no bound. Needs
    the release of item counts and a catalogue of 51 items or more. Rests on released figures alone: it costs no
    privacy."""
    watch_every: Annotated[int, Field(ge=0)] = 0
    """Rounds between looks at the shared model for signs of an attack (``fedrec.aggregation.watch``); 0 never looks.
    ``on_alarm = hold`` looks at every step. Rests on released figures alone."""
    on_alarm: Literal["warn", "hold"] = "warn"
    """``hold`` leaves the model as it was in a round that raises an alarm. Whoever keeps an alarm up then keeps the run
    from learning: for runs that somebody looks after."""

    exclude_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds in which a node is not asked once its reputation has fallen below ``exclude_below``; 0 raises the alarm
    and still asks it. Reputation halves with each round in which what the node itself sent was set aside for what no
    honest device sends, and comes back with good replies (``fedrec.flower.conduct``)."""
    exclude_below: Annotated[float, Field(gt=0, le=1)] = 0.2
    """In (0, 1]: three bad rounds in a row fall below 0.2."""
    free_riders: bool = False
    """Whether replies are looked at for zeros and echoes of the last step, and nodes named that send them again and
    again. Only where replies are seen one by one and no more than that is promised of them: without user-level
    privacy, or under noise of devices, where it finds those who leave out their noise."""

    @model_validator(mode="before")
    @classmethod
    def _filled_from_preset(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("preset") == "guarded":
            return {**GUARDED, **values, "preset": None}  # a bound that was set to none would come back with it
        return values

    @classmethod
    def guarded(cls) -> Self:
        """Return the preset ``guarded``."""
        return cls(preset="guarded")
