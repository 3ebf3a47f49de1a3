"""What a server does about clients who lie: rules, bounds and alarms."""

from typing import Literal

from fedrec.config.section import Section

RuleName = Literal["mean", "trimmed-mean", "median", "krum", "multi-krum", "geometric-median"]


class RobustnessConfig(Section):
    """How replies are aggregated, and what is watched (``fedrec.aggregation``)."""

    rule: RuleName = "mean"
    """How replies become one; ``mean`` alone can be released under central noise."""
    on_alarm: Literal["warn", "hold"] = "warn"
    """``hold`` leaves the model as it was in a round that raises an alarm."""
