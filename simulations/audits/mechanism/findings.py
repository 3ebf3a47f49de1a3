"""The mechanism of a scenario as the production calls it: its noise, its bound on one user, and what it hides."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedrec.audit.evidence.noise_tests import noise_checks
from fedrec.audit.findings import Findings
from fedrec.config import Scenario
from fedrec.flower.state import Randomness
from fedrec.flower.templates import contribution_template
from fedrec.privacy.adaptive_clipping import WITHIN
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.placement import Dimensions
from fedrec.privacy.planning.run import plan_run
from fedrec.rounds import Contribution, contribution_of
from server.federation import Federation, randomness_of
from simulations.audits.checks import Found, findings, not_run
from simulations.audits.mechanism.draws import Shapes, devices_of, residuals, shortened
from simulations.audits.mechanism.node import Bench, canary, device_noise_checks, node_checks
from simulations.audits.mechanism.told_apart import told_apart
from simulations.audits.probe import ITEMS, Probe, probe_of

UNTESTED = (
    "That the generator of the noise cannot be predicted is not tested: no test of numbers can show it.",
    "Noise was looked at as 64- and 32-bit floats: what their last bits may give away of Gaussian noise is not tested.",
)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """``numbers``: of a release. ``rounds``: releases. ``draws``: with a user, and without. ``most``: mechanisms."""

    numbers: int
    rounds: int
    draws: int
    most: int


QUICK = Effort(numbers=2_000, rounds=8, draws=0, most=1)
FULL = Effort(numbers=20_000, rounds=50, draws=10_000, most=4)

SUPPOSED_POPULATION = 1000
"""Users where no run says how many there are."""


def mechanism_findings(
    scenario: Scenario, *, mechanisms: Sequence[Mechanism] = (), seed: int, quick: bool = False
) -> Findings:
    """Return what the production's release and nodes do to sums, to noise and to odd users under a scenario.

    ``mechanisms``: of the audited run's releases as its ledger has them, the most frequent first; without, those that
    the scenario plans. ``quick``: fewer numbers, rounds and draws.
    """
    return findings(mechanism_checks(scenario, mechanisms=mechanisms, seed=seed, quick=quick), UNTESTED)


def mechanism_checks(
    scenario: Scenario, *, mechanisms: Sequence[Mechanism] = (), seed: int, quick: bool = False
) -> Iterator[Found]:
    """Yield the checks and bounds of ``mechanism_findings``, cheap ones first."""
    if not scenario.privacy.enabled:
        yield not_run(
            "noise-variance", "Is there as much noise as declared?", "privacy.enabled is false: none is claimed"
        )
        return
    effort, probe = QUICK if quick else FULL, probe_of(scenario, mechanisms, seed=seed)
    randomness = randomness_of(scenario)
    for number, (name, mechanism) in enumerate(_tested(probe, scenario, mechanisms, effort).items()):
        if number:
            effort = replace(effort, numbers=effort.numbers // 4, rounds=min(effort.rounds, 20))
        prefix = f"{name}-" if number else ""
        with tempfile.TemporaryDirectory(prefix="fedrec-audit-") as folder:
            yield from _noise(probe, mechanism, randomness, effort, prefix, Path(folder))
    with tempfile.TemporaryDirectory(prefix="fedrec-audit-") as folder:
        yield from _nodes(probe, scenario, randomness, effort, Path(folder), quick=quick)


def _tested(probe: Probe, scenario: Scenario, mechanisms: Sequence[Mechanism], effort: Effort) -> dict[str, Mechanism]:
    """Return the mechanisms to look at, by what they are of; the one of training first."""
    if mechanisms:
        planned = {f"release-{number}": one for number, one in enumerate(dict.fromkeys(mechanisms), 1)}
    else:
        numbers = sum(map(_size, _shapes(probe, effort.numbers, counted=True).values()))
        plan = plan_run(
            probe.scenario.privacy.model_copy(update={"cohort_cap": scenario.privacy.cohort_cap}),
            scenario.training.model_copy(
                update={"rounds": max(1, effort.rounds), "ials_rounds": 0, "fusion_rounds": 0}
            ),
            SUPPOSED_POPULATION,
            Dimensions(popularity=numbers, training=numbers, evaluation=numbers),
        )
        planned = {"training": plan.updates or plan.training}
        planned |= {"statistics": plan.popularity} if plan.popularity else {}
        planned |= {"evaluation": plan.evaluation} if plan.evaluation else {}
    return dict(list(planned.items())[: effort.most])


def _nodes(
    probe: Probe, scenario: Scenario, randomness: Randomness, effort: Effort, folder: Path, *, quick: bool
) -> Iterator[Found]:
    """Yield what nodes do to odd users and to noise, by kind of contribution, and what one release tells apart."""
    plan = Federation(scenario=probe.scenario, catalogue=probe.catalogue, ledger=folder / "none").plan(probe.size.users)
    assert plan is not None  # for the type checker: privacy is enabled
    kinds = list(_kinds(probe.scenario).items())
    for number, (kind, round) in enumerate(kinds[:1] if quick else kinds):
        mechanism, prefix = plan.mechanism(round), f"{kind.value}-" if number else ""
        if mechanism is None:
            continue
        yield from node_checks(probe, mechanism, kind, folder / kind.value, prefix=prefix, quick=quick)
        if not number:
            bench = Bench(probe=probe, kind=kind, mechanism=mechanism, folder=folder / "canary")
            yield from device_noise_checks(bench, 12 if quick else 60)
            if scenario.privacy.interaction is not None:
                why = "training under the interaction-level layer has noise of its own"
                yield not_run("release-told-apart", "Can a release with one user be told from one without?", why)
            elif effort.draws:
                slower = 4 if mechanism.correlation else 2 if mechanism.fixed_point else 1
                found = told_apart(probe.scenario, mechanism, randomness, canary(bench), effort.draws // slower)
                yield from found.checks
                yield from found.bounds


def _kinds(scenario: Scenario) -> dict[Contribution, int]:
    """Return what users contribute in a scenario's rounds, updates first, with a round in which they do."""
    training = scenario.played
    stages = {contribution_of(training, number): number for number in range(1, training.all_rounds + 1)}
    if training.popularity_start and scenario.privacy.popularity_share:
        stages[Contribution.POPULARITY] = 0
    return dict(sorted(stages.items(), key=lambda stage: stage[0] is not Contribution.UPDATE))


def _noise(
    probe: Probe, mechanism: Mechanism, randomness: Randomness, effort: Effort, prefix: str, folder: Path
) -> Iterator[Found]:
    mechanism = shortened(mechanism, effort.rounds)
    users = sum(devices_of(mechanism)) if mechanism.noise == "discrete-gaussian" else 1
    numbers = min(effort.numbers, 20_000_000 // (effort.rounds * max(1, users)))
    if mechanism.fixed_point:  # which was planned for so many
        numbers = min(numbers, mechanism.fixed_point.dimension)
    shapes = _shapes(probe, numbers, counted=mechanism.count_noise is not None)
    found = residuals(probe.scenario, mechanism, randomness, shapes, effort.rounds, folder)
    yield from noise_checks(found.noise, found.stds, declared=found.declared, prefix=prefix)


def _shapes(probe: Probe, numbers: int, *, counted: bool) -> Shapes:
    """Return the shapes of what users contribute, item tables made so long that there are about so many numbers."""
    kind = Contribution.UPDATE if probe.scenario.model.branches else Contribution.POPULARITY
    template = contribution_template(kind, probe.scenario.model, probe.model.shared_state(), ITEMS)
    shapes = {name: tuple(tensor.shape) for name, tensor in template.items()}
    by_item = {name: shape for name, shape in shapes.items() if shape and shape[0] == ITEMS}
    rest = sum(_size(shape) for name, shape in shapes.items() if name not in by_item)
    rows = max(ITEMS, (numbers - rest) // max(1, sum(_size(shape) // ITEMS for shape in by_item.values())))
    shapes |= {name: (rows, *shape[1:]) for name, shape in by_item.items()}
    return shapes | ({WITHIN: (1,)} if counted else {})


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
