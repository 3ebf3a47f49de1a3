"""From settings to what is done in a round: which rule takes the replies, and what becomes of the step.

``defences`` names what attacks are measured against; a scenario that says nothing has none of them.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedrec.aggregation.exact_sum import ExactSum
from fedrec.aggregation.growth import within_band
from fedrec.aggregation.robust import GeometricMedian, Krum, Median, TrimmedMean
from fedrec.aggregation.rule import Rule
from fedrec.aggregation.wrappers import Capped, Clipped, Supported
from fedrec.config.robustness import RobustnessConfig, RuleName
from fedrec.models.split import SharedState


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is public of a round's replies before they come."""

    item_tables: Collection[str]
    """Names of tensors whose first axis is the catalogue."""
    template: Mapping[str, Tensor]
    """Tensors of the names, shapes and kinds of a decoded reply."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of nodes whose owner holds too many users (``owner_weights``); of others 1."""
    apart: Collection[str] = ()
    """Names in a reply that are no part of an update."""


@dataclass(frozen=True, kw_only=True)
class Defence:
    """What a server does about replies of training rounds. Holds no state between rounds."""

    config: RobustnessConfig

    def rule(self, known: Known) -> Rule:
        """Return a new rule for one round's replies."""
        config = self.config
        rule = RULES[config.rule](config, known.template)
        if config.supporters > 1:
            rule = Supported(inner=rule, item_tables=known.item_tables, minimum=config.supporters)
        if config.clip_norm or config.row_clip_norm or config.items_clip_norm or config.aggregate_row_norm:
            rule = Clipped(
                inner=rule,
                item_tables=known.item_tables,
                row_norm=config.row_clip_norm,
                items_norm=config.items_clip_norm,
                norm=config.clip_norm,
                aggregate_row_norm=config.aggregate_row_norm,
                apart=known.apart,
            )
        return Capped(inner=rule, weights=known.weights) if known.weights else rule

    def settled(self, after: SharedState, popularity: Tensor | None, item_tables: Collection[str]) -> SharedState:
        """Return the shared parameters that a step ends with: ``after``, item rows held to their kind.

        ``popularity``: released counts; without them, or without ``growth``, ``after`` as it is.
        """
        if self.config.growth is None or popularity is None:
            return after
        return within_band(after, popularity, item_tables, self.config.growth)


RULES: dict[RuleName, Callable[[RobustnessConfig, Mapping[str, Tensor]], Rule]] = {
    "mean": lambda config, template: ExactSum(template),
    "trimmed-mean": lambda config, template: TrimmedMean(share=config.liars),
    "median": lambda config, template: Median(),
    "krum": lambda config, template: Krum(share=config.liars),
    "multi-krum": lambda config, template: Krum(share=config.liars, chosen=None),
    "geometric-median": lambda config, template: GeometricMedian(),
}


def _with(**settings: object) -> Defence:
    return Defence(config=RobustnessConfig.model_validate(settings))


def defences(*, clip_norm: float, row_clip_norm: float) -> dict[str, Defence]:
    """Return the table of defences by name, for a model whose honest users' updates have such norms.

    ``clip_norm`` and ``row_clip_norm``: bounds that nearly all honest users keep by themselves, of a whole update and
    of one item's change. ``guarded`` has the numbers of ``RobustnessConfig.guarded`` and not these.
    """
    return {
        "none": _with(),
        "norm-bound": _with(clip_norm=clip_norm),
        "row-clip": _with(row_clip_norm=row_clip_norm),
        "hics": _with(clip_norm=clip_norm, row_clip_norm=row_clip_norm, aggregate_row_norm=row_clip_norm / 10),
        "trimmed-mean": _with(rule="trimmed-mean"),
        "median": _with(rule="median"),
        "krum": _with(rule="krum"),
        "multi-krum": _with(rule="multi-krum"),
        "geometric-median": _with(rule="geometric-median"),
        "row-support": _with(row_clip_norm=row_clip_norm, supporters=10),
        "growth": _with(clip_norm=clip_norm, row_clip_norm=row_clip_norm, growth=1.5),
        "guarded": Defence(config=RobustnessConfig.guarded()),
    }
