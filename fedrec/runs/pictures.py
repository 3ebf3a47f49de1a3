"""A run in pictures: inline SVG whose colours are CSS variables, so that one drawing serves light, dark and print.

Needs matplotlib (extra ``sim``). Knows a summary and rows of metrics; knows nothing of the page around a picture.
Colours are Okabe and Ito's (2008), told apart by every common colour vision; lines differ by dash and label too.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedrec.runs.labels import BRANCH_LABELS, floor_label, headline_metrics, human_bytes, metric_label
from fedrec.runs.summary import Summary

Rows = Sequence[Mapping[str, Any]]

VARIABLES = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--paper)",
    "#0a0a01": "var(--blue)",
    "#0a0a02": "var(--green)",
    "#0a0a03": "var(--orange)",
    "#0a0a04": "var(--vermillion)",
    "#0a0a05": "var(--purple)",
    "#0a0a06": "var(--sky)",
}
"""The style sheet's variable by the stand-in colour that matplotlib is given."""
INK, MUTED, RULE, PAPER, BLUE, GREEN, ORANGE, VERMILLION, PURPLE, SKY = VARIABLES

FLOOR_STYLES = {
    "popularity": (ORANGE, (0, (1, 1.5))),
    "dp-popularity": (PURPLE, (0, (1, 3))),
    "ease": (VERMILLION, (0, (6, 2))),
    "markov": (MUTED, (0, (6, 2, 1, 2))),
}
OTHER_FLOOR = (MUTED, (0, (3, 3)))
BRANCH_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def draw_pictures(summary: Summary, rows: Rows, non_private_rows: Rows = ()) -> dict[str, str]:
    """Return SVG by name: ``quality``, and where there is data ``learning``, ``budget``, ``fusion``, ``bytes``."""
    final = [row for row in rows if row["phase"] == "final"]
    drawings: dict[str, Callable[[], Figure] | None] = {
        "quality": lambda: _quality(summary),
        "learning": (lambda: _learning(summary, rows, non_private_rows)) if _measured(rows) else None,
        "budget": (lambda: _budget(summary, final)) if _with(final, "epsilon") and summary.privacy else None,
        "fusion": (lambda: _fusion(final)) if len(_with(final, "fusion")) > 1 else None,
        "bytes": (lambda: _bytes(final)) if _with(final, "bytes_down") else None,
    }
    return {name: render(draw, name) for name, draw in drawings.items() if draw is not None}


def render(draw: Callable[[], Figure], name: str) -> str:
    """Return the figure that ``draw`` makes as an SVG element in the page's colours; ``name`` seeds its ids."""
    with rc_context(_RC):
        return _svg(draw(), name)


def _with(rows: Rows, key: str) -> Rows:
    return [row for row in rows if row.get(key) is not None]


def _measured(rows: Rows) -> Rows:
    return _with(rows, "metrics")


def _quality(summary: Summary) -> Figure:
    """Means with intervals, one line a scorer, one panel a metric."""
    metrics = headline_metrics(summary.protocol.ks)
    lines = _scorers(summary)
    figure = Figure(figsize=(8.2, 0.9 + 0.34 * len(lines)))
    figure.set_layout_engine("constrained", wspace=0.06)
    for axes, metric in zip(figure.subplots(1, len(metrics), sharey=True), metrics, strict=True):
        _dots(axes, lines, metric)
        axes.set_title(metric_label(metric))
    return figure


Line = tuple[str, str, Mapping[str, float], Mapping[str, tuple[float, float]]]


def _scorers(summary: Summary) -> list[Line]:
    lines: list[Line] = [
        (floor_label(name), FLOOR_STYLES.get(name, OTHER_FLOOR)[0], means, summary.floor_intervals.get(name, {}))
        for name, means in summary.floors.items()
    ]
    other = summary.non_private
    if other is not None:
        lines.append(("federated, no privacy", GREEN, other.metrics, other.intervals))
    return [*lines, ("this run", BLUE, summary.metrics, summary.intervals)]


def _dots(axes: Axes, lines: Sequence[Line], metric: str) -> None:
    own = lines[-1][3].get(metric)
    if own is not None:
        axes.axvspan(*own, color=BLUE, alpha=0.08, linewidth=0)
    for height, (_, colour, means, intervals) in enumerate(lines):
        if metric not in means:
            continue
        if metric in intervals:
            axes.plot(intervals[metric], [height, height], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(means[metric], height, "D" if height == len(lines) - 1 else "o", color=colour, markersize=6)
    axes.set_yticks(range(len(lines)), [label for label, *_ in lines])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.margins(x=0.08)


def _learning(summary: Summary, rows: Rows, non_private_rows: Rows) -> Figure:
    """Each headline metric by round, with floors as labelled horizontal lines."""
    metrics = headline_metrics(summary.protocol.ks)
    figure = Figure(figsize=(8.2, 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics)), metrics, strict=True):
        ends = [*_curves(axes, metric, rows, non_private_rows), *_floor_lines(axes, metric, summary)]
        axes.set_title(metric_label(metric))
        axes.set_xlabel("round")
        axes.set_ylim(0, 1.08 * max(height for height, *_ in ends))
        _end_labels(axes, ends)
    return figure


End = tuple[float, str, str]
"""Height, label and colour of a line at its right end."""


def _curves(axes: Axes, metric: str, rows: Rows, non_private_rows: Rows) -> list[End]:
    ends = []
    for phase, label, colour, dashes, source in (
        ("selection", "validation", SKY, (0, (2, 1)), rows),
        ("final", "no privacy", GREEN, "solid", non_private_rows),
        ("final", "this run", BLUE, "solid", rows),
    ):
        points = [(row["round"], row["metrics"][metric]) for row in _measured(source) if row["phase"] == phase]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, marker="o", markersize=3)
            ends.append((points[-1][1], label, colour))
    return ends


def _floor_lines(axes: Axes, metric: str, summary: Summary) -> list[End]:
    ends = []
    for name, means in summary.floors.items():
        if metric in means:
            colour, dashes = FLOOR_STYLES.get(name, OTHER_FLOOR)
            axes.axhline(means[metric], color=colour, linestyle=dashes, linewidth=1.1)
            ends.append((means[metric], floor_label(name), colour))
    return ends


def _end_labels(axes: Axes, ends: Sequence[End]) -> None:
    """Write each line's name right of the axes at its height, pushed apart where two would touch."""
    low, high = axes.get_ylim()
    heights = spread([height for height, *_ in ends], gap=0.062 * (high - low))
    for height, (_, label, colour) in zip(heights, ends, strict=True):
        axes.annotate(
            label,
            (1.02, height),
            xycoords=("axes fraction", "data"),
            color=colour,
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ``heights`` moved as little as possible (least squares) for neighbours to be ``gap`` apart, order kept.

    Isotonic regression by pooling adjacent violators, after the required gaps are taken out.
    """
    order = sorted(range(len(heights)), key=lambda position: heights[position])
    pools: list[list[float]] = []
    for rank, position in enumerate(order):
        pools.append([heights[position] - rank * gap])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = [fmean(pool) for pool in pools for _ in pool]
    return [level[rank] + rank * gap for rank in sorted(range(len(order)), key=order.__getitem__)]


def _budget(summary: Summary, rows: Rows) -> Figure:
    """Epsilon left after each round, down to the line at which the ledger stops the run."""
    privacy = summary.privacy
    if privacy is None:
        raise ValueError("a run without privacy has no budget to draw")
    points = [(row["round"], privacy.epsilon_budget - row["epsilon"]) for row in _with(rows, "epsilon")]
    rounds, left = zip(*points, strict=True)
    figure = Figure(figsize=(8.2, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(rounds, left, step="post", color=BLUE, alpha=0.12, linewidth=0)
    axes.step(rounds, left, where="post", color=BLUE)
    axes.axhline(0, color=VERMILLION, linewidth=1.6)
    axes.text(
        0.005,
        0.02 * privacy.epsilon_budget,
        "stop: the ledger refuses any further release",
        color=VERMILLION,
        transform=axes.get_yaxis_transform(),
        va="bottom",
        fontsize=8,
    )
    end = (rounds[-1], max(left[-2:]))
    axes.annotate(f"{left[-1]:.2f} left", end, xytext=(0, 5), textcoords="offset points", ha="right")
    axes.set_ylim(-0.03 * privacy.epsilon_budget, 1.05 * privacy.epsilon_budget)
    axes.set_title(f"epsilon left of {privacy.epsilon_budget:g}, at delta {privacy.delta:g}")
    axes.set_xlabel("round")
    return figure


def _fusion(rows: Rows) -> Figure:
    """Fusion weights as stacked areas that fill the unit."""
    points = _with(rows, "fusion")
    rounds = [row["round"] for row in points]
    names = list(points[-1]["fusion"])
    heights = [[row["fusion"].get(name, 0.0) for row in points] for name in names]
    colours = [BRANCH_COLOURS[position % len(BRANCH_COLOURS)] for position in range(len(names))]
    figure = Figure(figsize=(8.2, 2.7), layout="constrained")
    axes = figure.subplots()
    axes.stackplot(rounds, *heights, colors=colours, alpha=0.75, edgecolor=PAPER, linewidth=1)
    tops = [sum(column[-1] for column in heights[: position + 1]) for position in range(len(names))]
    middles = [top - column[-1] / 2 for top, column in zip(tops, heights, strict=True)]
    labels = [f"{BRANCH_LABELS.get(name, name)} {column[-1]:.2f}" for name, column in zip(names, heights, strict=True)]
    axes.set(xlim=(rounds[0], rounds[-1]), ylim=(0, max(tops[-1], 1e-9)), xlabel="round")
    _end_labels(axes, list(zip(middles, labels, colours, strict=True)))
    axes.grid(visible=False)
    axes.set_title("share of each branch in the score")
    return figure


def _bytes(rows: Rows) -> Figure:
    """Payload of each round, to all nodes and back."""
    points = _with(rows, "bytes_down")
    rounds = [row["round"] for row in points]
    figure = Figure(figsize=(8.2, 2.5), layout="constrained")
    axes = figure.subplots()
    down, up = ([row.get(key) or 0 for row in points] for key in ("bytes_down", "bytes_up"))
    axes.plot(rounds, down, color=BLUE, drawstyle="steps-mid")
    axes.plot(rounds, up, color=ORANGE, linestyle=(0, (4, 2)), drawstyle="steps-mid")
    ends = [(float(down[-1]), "down", BLUE), (float(up[-1]), "up", ORANGE)]
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.yaxis.set_major_formatter(lambda value, _: human_bytes(value))
    axes.set_title("payload of a round, all nodes together")
    axes.set_xlabel("round")
    _end_labels(axes, ends)
    return figure


def _svg(figure: Figure, name: str) -> str:
    """Return the drawing as an ``svg`` element that takes its width, font and colours from the page around it."""
    text = StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    view = re.search(r'viewBox="[^"]*"', drawing)
    body = drawing[drawing.index("<defs>") : drawing.rindex("</svg>")]
    for pattern, replacement in _CLEANING:
        body = re.sub(pattern, replacement, body, flags=re.DOTALL)
    body = re.sub("|".join(VARIABLES), lambda found: VARIABLES[found[0]], body)
    return f'<svg {view[0] if view else ""} aria-hidden="true">{body.strip()}</svg>'


_CLEANING = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<defs>\s*<style.*?</style>\s*</defs>", ""),  # its rules would hold for the whole page
    (r'<g id="[^"]*"', "<g"),  # numbered anew in each drawing, so not unique in a page
    (r"font: ([\d.]+px) [^;\"]*", r"font-size: \1"),
    (r"font-family: [^;\"]*;? ?", ""),
)
