"""Level 3 of an audit: what one user can change, noise off, over crafted and random models, cohorts and histories."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fedrec.audit.findings import Check, Findings, Level
from fedrec.config import Scenario
from simulations.audits.quiet import unlogged
from simulations.audits.sensitivity import interactions, placements, server, settings, stages, statistics
from simulations.audits.sensitivity.cases import crafted_cases
from simulations.audits.sensitivity.drawing import REMEDY, Draw, each_drawn, is_installed
from simulations.audits.sensitivity.neighbours import SLACK, Case
from simulations.audits.sensitivity.search import Found, search
from simulations.audits.sensitivity.training import Training

EXAMPLES = 12
"""Random cases of each part, where nothing else is said."""

QUICK_EXAMPLES = 1
"""The same in quick mode, after the crafted ones."""

MANY = 3
"""Crafted people of each setting outside quick mode, those who tell most."""

TEETH = 0.9
"""Share of what is allowed that some case should come to: a fuzz that never does proves little."""

METHOD = "two production runs on neighbouring cohorts, noise off; the L2 distance of their sums over the declared bound"

UNTESTED = (
    "The fuzz runs small models over few items on the CPU: what only others do, it misses.",
    "The fuzz looks at sums alone: not at whether, when and with how many bytes a node answers.",
    "The fuzz tries cases: that no other goes beyond the bound is for the proofs and tests beside the code to show.",
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One path, with the cases that are always tried and how others are drawn."""

    name: str
    of: str
    """What is contributed, as the object of "by how much can one user change"."""
    crafted: Iterable[Case]
    draw: Callable[[Draw], Case]


def sensitivity_findings(
    scenario: Scenario | None, *, seed: int, examples: int = EXAMPLES, quick: bool = False
) -> Findings:
    """Return whether one user can change what is released by more than its noise is calibrated to.

    Users are taken away, replaced or emptied, noise off. ``scenario``: a run's own, whose model and training are
    tried beside the general ones, over few items; None tries the general ones. ``examples``: random cases of each
    part; the same ``seed`` draws the same ones. ``quick``: seconds; the crafted cases that tell most, and few others.
    """
    checks = tuple(sensitivity_checks(scenario, seed=seed, examples=examples, quick=quick))
    return Findings(checks=checks, untested=UNTESTED)


def sensitivity_checks(
    scenario: Scenario | None, *, seed: int, examples: int = EXAMPLES, quick: bool = False
) -> Iterator[Check]:
    """Yield the checks of ``sensitivity_findings`` one by one, each when it is made."""
    if not is_installed():
        yield Check(
            level=Level.SENSITIVITY,
            name="sensitivity",
            asks="By how much can one user change what is released?",
            verdict="not run",
            found=f"Random cases are drawn by Hypothesis, which is not installed: {REMEDY}",
        )
        return
    number = min(examples, QUICK_EXAMPLES) if quick else examples
    with tempfile.TemporaryDirectory() as folder, unlogged():
        for part in _parts(scenario, Path(folder), quick=quick):
            yield _check(part, search(part.crafted, part.draw, seed=seed, examples=number))
        yield from _server_checks(Path(folder), seed=seed, examples=number, quick=quick)


def _parts(scenario: Scenario | None, folder: Path, *, quick: bool) -> Iterator[Part]:
    """Yield all parts, those of the run's own settings first."""
    own = settings.of_scenario(scenario) if scenario else ()
    model = settings.shrunk(scenario) if scenario else None
    if own:
        yield _training("this-run", "this run's updates", own, quick=quick)
    yield _training("common-steps", "updates of one common step", settings.common_steps(quick=quick), quick=quick)
    yield _training("factor-steps", "updates of matrix factorisation", settings.factor_steps(quick=quick), quick=quick)
    yield _training("own-copies", "updates of users' own copies", settings.own_copies(quick=quick), quick=quick)
    yield _training("row-clips", "updates whose rows are bounded", settings.row_clips(quick=quick), quick=quick)
    counted = statistics.statistics(model)
    yield Part(
        name="sensitivity-of-statistics",
        of="the sum of the statistics before training",
        crafted=crafted_cases(counted, 2 if quick else MANY),
        draw=lambda draw: statistics.draw_statistics_case(draw, counted),
    )
    mixed = model if scenario and scenario.mixes else None
    sent = stages.coded_updates(folder, quick=quick)
    yield Part(
        name="sensitivity-of-coded-updates",
        of="the sum of updates as they are sent",
        crafted=chain(crafted_cases(sent[:1], 1, bystanders=0), crafted_cases(sent, 1 if quick else MANY)),
        draw=lambda draw: stages.draw_stage_case(draw, sent),
    )
    yield _stage("item-solves", "what items are solved from", stages.item_solves(folder, quick=quick), quick=quick)
    weighed = stages.fusion_weights(folder, mixed, quick=quick)
    yield _stage("fusion-weights", "gradients of the fusion's weights", weighed, quick=quick)
    yield _stage("evaluation", "ranks for the evaluation", stages.evaluations(folder, quick=quick), quick=quick)
    placed = placements.placements(settings.factor_steps()[0], quick=quick)
    yield Part(
        name="sensitivity-of-placements",
        of="the mean, wherever noise is added",
        crafted=crafted_cases(placed, 1 if quick else MANY, "emptied"),
        draw=lambda draw: placements.draw_placed_case(draw, placed),
    )
    if not quick or (scenario and scenario.privacy.interaction):
        layers = interactions.interactions(scenario.privacy.interaction if scenario else None)
        yield Part(
            name="sensitivity-of-interactions",
            of="a step on its device by one interaction",
            crafted=interactions.crafted_interactions(layers),
            draw=lambda draw: interactions.draw_interaction_case(draw, layers),
        )


def _training(name: str, of: str, trained: Sequence[Training], *, quick: bool) -> Part:
    return Part(
        name=f"sensitivity-of-{name}",
        of=f"the sum of {of}",
        crafted=crafted_cases(trained, 1 if quick else MANY),
        draw=lambda draw: settings.draw_training_case(draw, trained),
    )


def _stage(name: str, of: str, sent: Sequence[stages.Stage], *, quick: bool) -> Part:
    return Part(
        name=f"sensitivity-of-{name}",
        of=f"the sum of {of}",
        crafted=crafted_cases(sent, 1 if quick else MANY),
        draw=lambda draw: stages.draw_stage_case(draw, sent),
    )


def _check(part: Part, found: Found) -> Check:
    asks = f"By how much can one user change {part.of}, noise off?"
    figures = {"cases": float(found.cases), "largest_change": _figure(found.largest)}
    if found.worst is not None:
        return _row(part.name, asks, "violated", f"Too far: {found.worst.told()}.", figures)
    if not found.cases:
        return _row(part.name, asks, "not run", f"There was no sum to look at: {found.void}.", figures)
    tried = f"In {found.cases} cases of a user taken away, replaced or emptied"
    if found.largest < TEETH:
        text = f"{tried} nothing moved by more than {found.largest:.3f} of its bound: so little that it shows little."
        return _row(part.name, asks, "warned", text, figures)
    return _row(part.name, asks, "passed", f"{tried} the largest change was {found.largest:.6f} of its bound.", figures)


def _server_checks(folder: Path, *, seed: int, examples: int, quick: bool) -> Iterator[Check]:
    """Yield what the server takes from nodes, and what it divides by."""
    one, seen = server.Server(folder), _Seen()

    def judge(replies: tuple[server.Reply, ...], *, released: bool) -> bool:
        return seen.add(one.take(replies, released=released), released=released)

    for number, replies in enumerate(server.ROUNDS):
        judge(replies, released=not quick or number in (0, 1, len(server.ROUNDS) - 1))
    each_drawn(lambda draw: judge(server.draw_round(draw), released=False), seed=seed, examples=examples, smaller=0)
    asks = "Does the server take more from a node than its users may contribute?"
    figures = {"rounds": float(seen.rounds), "largest_share": _figure(seen.ratio)}
    if seen.ratio > 1 + 2 * SLACK or seen.reason:
        reason = seen.reason or f"a node has {seen.ratio:.3g} times its users' bound in the sum"
        yield _row("bounded-replies", asks, "violated", f"It does: {reason}.", figures)
    else:
        text = f"In {seen.rounds} rounds no node had more than {seen.ratio:.6f} of its users' bound in the sum."
        yield _row("bounded-replies", asks, "passed", text, figures)
    asks = "Is the released mean the sum over the public number of users that are expected, whoever came?"
    figures = {"releases": float(seen.released), "largest_difference": _figure(seen.divisor)}
    if not seen.divisor <= SLACK:
        text = f"It is not: noise off, a mean was {seen.divisor:.3g} of its size away from the sum over q times N."
        yield _row("public-divisor", asks, "violated", text, figures)
    else:
        text = f"In {seen.released} releases it was, to {seen.divisor:.1e} of its size."
        yield _row("public-divisor", asks, "passed", text, figures)


class _Seen:
    """What was seen of all rounds of the server so far."""

    def __init__(self) -> None:
        self.rounds, self.released, self.ratio, self.divisor, self.reason = 0, 0, 0.0, 0.0, ""

    def add(self, taken: server.Taken, *, released: bool) -> bool:
        self.rounds += 1
        self.released += released
        self.ratio = max(self.ratio, taken.ratio)
        self.divisor = max(self.divisor, taken.divisor) if math.isfinite(taken.divisor) else math.inf
        self.reason = self.reason or taken.reason
        return taken.ratio <= 1 + 2 * SLACK and not taken.reason


def _row(name: str, asks: str, verdict: str, found: str, figures: dict[str, float | None]) -> Check:
    return Check.model_validate(
        {
            "level": Level.SENSITIVITY,
            "name": name,
            "asks": asks,
            "verdict": verdict,
            "found": found,
            "figures": figures,
            "method": METHOD,
        }
    )


def _figure(value: float) -> float | None:
    return value if math.isfinite(value) else None
