"""A search in one picture: what each trial came to, and how it hangs together with each setting. Needs matplotlib."""

import io
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from fedrec.optional import optional
from simulations.sweeps.space import Choices, Parameter, Space
from simulations.sweeps.study import Trial

COLOURS = {"complete": "#0072B2", "pruned": "#E69F00"}
LABELS = {"complete": "to the end", "pruned": "cut short"}
COLUMNS = 3


def draw_search(trials: Sequence[Trial], space: Space, metric: str) -> bytes:
    """Return a PNG: the metric by trial with the best so far, then one panel a setting."""
    figures: Any = optional("matplotlib.figure", extra="hpo", purpose="fedrec sweep")
    measured = [trial for trial in trials if trial.metric is not None]
    rows = -(-(len(space) + 1) // COLUMNS)
    figure = figures.Figure(figsize=(4.2 * COLUMNS, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    _course(panels[0], measured, metric)
    for panel, parameter in zip(panels[1:], space, strict=False):
        _setting(panel, measured, parameter, metric)
    for panel in panels[len(space) + 1 :]:
        panel.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _course(panel: Any, trials: Sequence[Trial], metric: str) -> None:
    for state in COLOURS:
        own = [trial for trial in trials if trial.state == state]
        if own:
            numbers, heights = [trial.number + 1 for trial in own], [trial.metric for trial in own]
            panel.plot(numbers, heights, "o", color=COLOURS[state], label=LABELS[state], markersize=5)
    done = [trial for trial in trials if trial.state == "complete"]
    best = list(accumulate((trial.metric or 0.0 for trial in done), max))
    panel.step([trial.number + 1 for trial in done], best, where="post", color="#555555", label="best so far")
    panel.set(xlabel="trial", ylabel=f"{metric} on validation events")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(frameon=False, fontsize=8)


def _setting(panel: Any, trials: Sequence[Trial], parameter: Parameter, metric: str) -> None:
    for state in COLOURS:
        own = [trial for trial in trials if trial.state == state]
        places = [_place(trial.values[parameter.key], parameter) for trial in own]
        panel.plot(places, [trial.metric for trial in own], "o", color=COLOURS[state], markersize=5)
    if isinstance(parameter, Choices):
        labels = ["+".join(map(str, v)) if isinstance(v, list) else str(v) for v in parameter.values]
        panel.set_xticks(range(len(labels)), labels, rotation=20, ha="right", fontsize=8)
        panel.set_xlim(-0.5, len(labels) - 0.5)
    elif parameter.log:
        ends = (parameter.low, (parameter.low * parameter.high) ** 0.5, parameter.high)
        panel.set_xscale("log")
        panel.set_xticks(ends, [f"{end:.2g}" for end in ends])
        panel.xaxis.set_tick_params(which="minor", labelbottom=False)
    panel.set(xlabel=parameter.key, ylabel=metric)


def _place(value: Any, parameter: Parameter) -> float:
    return parameter.values.index(value) if isinstance(parameter, Choices) else value
