"""Quality by group of users as pictures. Needs matplotlib (extra ``sim``), as ``fedrec.runs.pictures``."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedrec.runs.labels import headline_metrics, metric_label
from fedrec.runs.pictures import BLUE, INK, MUTED, VERMILLION, render
from fedrec.runs.summary import GroupingSummary, Summary

ROW_INCHES = 0.27


def draw_groups(summary: Summary) -> dict[str, str]:
    """Return SVG by name, ``groups:`` and the grouping's: one row a group, one panel a headline metric."""
    metrics = headline_metrics(summary.protocol.ks)
    found = {}
    for grouping in summary.groups:
        name = f"groups:{grouping.name}"
        found[name] = render(partial(_panels, grouping, metrics, summary), name)
    return found


def _panels(grouping: GroupingSummary, metrics: Sequence[str], summary: Summary) -> Figure:
    figure = Figure(figsize=(8.2, 0.85 + ROW_INCHES * len(grouping.groups)))
    figure.set_layout_engine("constrained", wspace=0.06)
    for axes, metric in zip(figure.subplots(1, len(metrics), sharey=True), metrics, strict=True):
        _dots(axes, grouping, metric, summary.metrics[metric])
        axes.set_title(metric_label(metric))
    return figure


def _dots(axes: Axes, grouping: GroupingSummary, metric: str, mean: float) -> None:
    """Means with one standard error to either side; the dashed line is everybody's mean."""
    axes.axvline(mean, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    for height, group in enumerate(grouping.groups):
        value, error = group.means[metric], group.errors[metric]
        is_worst = group.label == grouping.worst[metric]
        colour = VERMILLION if is_worst else BLUE
        axes.plot([value - error, value + error], [height, height], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(value, height, "D" if is_worst else "o", color=colour, markersize=6, clip_on=False)
    axes.set_yticks(range(len(grouping.groups)), [f"{group.label}  ({group.num_users})" for group in grouping.groups])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(len(grouping.groups) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.margins(x=0.08)
