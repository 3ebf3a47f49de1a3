"""An audit in pictures: claimed upper bounds over empirical lower ones, the budget, and attacks' ROC curves.

Needs matplotlib (extra ``sim``). Lines differ by dash and label as well as by colour.
"""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fedrec.audit.findings import Attack, Bound
from fedrec.audit.report.grouping import attacks_by_control, nearest_to_claims, refutes
from fedrec.audit.report.record import AuditedClaim, AuditReport
from fedrec.audit.report.words import shown, shown_below
from fedrec.runs.pictures import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, RULE, SKY, VERMILLION, render

_COLOURS = (BLUE, GREEN, PURPLE, ORANGE, SKY)
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1)))
LEAST_RATE = 1e-3
"""Where the axis of false positive rates begins."""


def draw_audit(report: AuditReport) -> dict[str, str]:
    """Return SVG by name: ``bounds``; ``budget-0``, ... for claims with a burn-down; ``attack-0``, ... for controls."""
    drawn = {}
    if report.bounds:
        drawn["bounds"] = render(partial(_bounds, nearest_to_claims(report.bounds)), "audit-bounds")
    for number, claim in enumerate(report.claims):
        if claim.burn_down and claim.budget is not None:
            drawn[f"budget-{number}"] = render(partial(_budget, claim, claim.budget), f"audit-budget-{number}")
    for number, attacks in enumerate(attacks_by_control(report.attacks)):
        if any(attack.curve for attack in attacks):
            drawn[f"attack-{number}"] = render(partial(_roc, attacks), f"audit-attack-{number}")
    return drawn


def _bounds(bounds: Sequence[Bound]) -> Figure:
    """A bar from nothing to each lower bound, and the claim as a line across its row."""
    most = max([bound.claimed for bound in bounds if bound.claimed is not None], default=1.0)
    finite = max([bound.lower for bound in bounds if bound.lower is not None], default=most)
    right = 1.12 * max(most, min(finite, 3 * most), 1e-6)
    figure = Figure(figsize=(8.2, 1.15 + 0.56 * len(bounds)), layout="constrained")
    axes = figure.subplots()
    for row, bound in enumerate(bounds):
        _bar(axes, row, bound, right)
    axes.set_yticks(range(len(bounds)), [_short(f"{bound.of}\n{bound.method}") for bound in bounds])
    axes.set(xlim=(0, right), ylim=(len(bounds) - 0.4, -0.75))
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.set_title("epsilon: at least (bar), claimed at most (line)")
    axes.set_xlabel("epsilon")
    return figure


def _bar(axes: Axes, row: int, bound: Bound, right: float) -> None:
    lower = right if bound.lower is None else min(bound.lower, right)
    refuted = refutes(bound)
    colour = VERMILLION if refuted else BLUE
    axes.barh(row, lower, height=0.42, color=colour, alpha=0.8 if refuted else 0.55, linewidth=0)
    inside = lower > 0.8 * right
    axes.annotate(
        shown_below(bound.lower),
        (lower, row),
        xytext=(-5 if inside else 5, 0),
        textcoords="offset points",
        ha="right" if inside else "left",
        va="center",
        fontsize=8,
        color=INK,
    )
    if bound.claimed is None:
        return
    axes.plot([bound.claimed] * 2, [row - 0.3, row + 0.3], color=VERMILLION, linewidth=2.2)
    axes.annotate(
        shown(bound.claimed),
        (bound.claimed, row - 0.3),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7.5,
        color=VERMILLION,
    )


def _budget(claim: AuditedClaim, budget: float) -> Figure:
    """Epsilon left after each round, down to the line at which the ledger refuses."""
    first, last = claim.burn_down[0][0], claim.burn_down[-1][0]
    points = [(first - max(0.03 * (last - first), 0.5), budget), *claim.burn_down]
    rounds, left = zip(*points, strict=True)
    figure = Figure(figsize=(8.2, 2.7), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(rounds, left, step="post", color=BLUE, alpha=0.12, linewidth=0)
    axes.step(rounds, left, where="post", color=BLUE)
    axes.plot(rounds[-1], left[-1], "o", color=BLUE, markersize=5)
    axes.axhline(0, color=VERMILLION, linewidth=1.6)
    transform = axes.get_yaxis_transform()
    words = "stop: the ledger refuses any further release"
    axes.text(0.005, 0.02 * budget, words, color=VERMILLION, transform=transform, va="bottom", fontsize=8)
    label = f"{max(left[-1], 0):.2f} left"
    axes.annotate(label, (rounds[-1], left[-1]), xytext=(0, 7), textcoords="offset points", ha="right", va="bottom")
    axes.set(ylim=(min(-0.03 * budget, 1.05 * min(left)), 1.12 * budget), xlim=(rounds[0], last))
    axes.set_xticks([tick for tick in MaxNLocator(integer=True).tick_values(first, last) if first <= tick <= last])
    axes.set_title(f"epsilon left of {budget:g}, at delta {claim.delta:.3g}")
    axes.set_xlabel("round")
    return figure


def _roc(attacks: Sequence[Attack]) -> Figure:
    """True over false positives, where false accusations are rare; the control is dashed."""
    figure = Figure(figsize=(8.2, 3.3 + 0.19 * len(attacks)), layout="constrained")
    axes = figure.subplots()
    guesses = [LEAST_RATE * (1 / LEAST_RATE) ** (step / 60) for step in range(61)]
    axes.plot(guesses, guesses, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label="guessing")
    for rate in (0.001, 0.01):
        axes.axvline(rate, color=RULE, linewidth=0.8)
    colours = iter(range(len(attacks)))
    for attack in attacks:
        if attack.curve:
            number = next(colours)
            colour = VERMILLION if attack.control else _COLOURS[number % len(_COLOURS)]
            dash = (0, (5, 2)) if attack.control else _DASHES[number % len(_DASHES)]
            label = f"{_short(attack.defence, 96)}{', the control' if attack.control else ''} (area {attack.auc:.2f})"
            rates, found = zip(*_visible(attack.curve), strict=True)
            axes.plot(rates, found, color=colour, linestyle=dash, label=label, drawstyle="steps-post")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:.0f} %"))
    axes.set(xlim=(LEAST_RATE, 1), ylim=(0, 1.02))
    axes.set_title("true cases that are found, by how often the attack may accuse falsely")
    axes.set_xlabel("false cases that are accused")
    figure.legend(loc="outside lower left", fontsize=8, labelcolor=INK)
    return figure


def _visible(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the curve from the left end of the axis on: its steps hold until the next."""
    points = sorted(curve)
    at_left = max((found for rate, found in points if rate <= LEAST_RATE), default=0.0)
    inside = [(rate, found) for rate, found in points if rate > LEAST_RATE]
    last = inside[-1][1] if inside else at_left
    return [(LEAST_RATE, at_left), *inside, (1.0, last)]


def _short(text: str, most: int = 64) -> str:
    return "\n".join(line if len(line) <= most else f"{line[: most - 1].rstrip()}…" for line in text.split("\n"))
