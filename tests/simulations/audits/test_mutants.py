"""The audit is itself audited: each broken variant of the real pipeline must fail it, the correct one must pass.

Every mutant patches production code, and levels 2 and 3 run as they do for a run, in quick mode, up to the violation
that names what was broken; others may come before it. A check that no mutant fails proves nothing; a mutant that no
check sees is a hole.
"""

from collections.abc import Callable, Iterator

import pytest

from fedrec.audit.findings import SIGNIFICANCE, Bound, Check
from fedrec.config import Scenario, parse_scenario
from simulations.audits.conduct import WATCHED_RUN, conduct_checks
from simulations.audits.mechanism import mechanism_checks
from simulations.audits.sensitivity import sensitivity_checks
from tests.simulations.audits.mutants import conduct, contributions, noise, sampling
from tests.simulations.audits.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (*noise.MUTANTS, *sampling.MUTANTS, *conduct.MUTANTS, *contributions.MUTANTS)

Part = Callable[..., Iterator[Check | Bound]]
PARTS: tuple[Part, ...] = (mechanism_checks, conduct_checks, sensitivity_checks)

FIRST: dict[str, Part] = {
    **{mutant.name: conduct_checks for mutant in (*sampling.MUTANTS, *conduct.MUTANTS)},
    **{mutant.name: sensitivity_checks for mutant in contributions.MUTANTS},
}
"""Which part of the audit is asked first, so that a mutant does not wait for the others."""

ASKED = {
    "no noise",
    "nine tenths of the noise",
    "noise over the root of two",
    "noise divided by the cohort twice",
    "clip off",
    "clip a tensor",
    "clip before weighting by events",
    "replies weighted",
    "noise on one tensor only",
    "rows of untouched items without noise",
    "one seed for all rounds",
    "the seed of a round again in the next",
    "shuffling in place of Poisson samples",
    "mean over the cohort that came",
    "private row count in the divisor",
    "metrics beside the ledger",
    "a ledger entry after the release",
    "in-batch negatives",
    "tied table's output part out of the ghost norm",
    "a private embedding in a message",
    "an answer that is made anew",
}
"""The least that the suite holds; whoever renames a mutant renames it here."""

PLACES = (
    (),
    ("privacy.noise=discrete-gaussian",),
    ("privacy.placement=device",),
    ("privacy.placement=distributed", "privacy.noise=skellam"),
    ("privacy.correlation=banded",),
    ("privacy.clipping=adaptive",),
)
"""Settings under which the correct pipeline must pass; every second one in the quick suite."""


TINY = {
    "model": {"dim": 8, "history_length": 10},
    "training": {"rounds": 2, "sample_rate": 0.5},
    "privacy": {"enabled": True, "epsilon": 20.0, "delta": 1e-4},
}


def scenario(*settings: str) -> Scenario:
    return parse_scenario(TINY, settings)


def audited(of: Scenario, seed: int, first: Part = mechanism_checks) -> Iterator[Check]:
    """Yield the checks of levels 2 and 3."""
    for part in sorted(PARTS, key=lambda part: part is not first):
        for found in part(of, seed=seed, quick=True):
            if isinstance(found, Check):
                yield found


def test_the_suite_holds_every_way_to_break_a_claim_that_was_asked_for():
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))
    assert set(names) >= ASKED


@pytest.mark.parametrize(
    "mutant", [pytest.param(one, marks=pytest.mark.slow if at % 4 else ()) for at, one in enumerate(MUTANTS)], ids=str
)
def test_a_broken_pipeline_fails_the_audit(mutant):
    of = scenario(*mutant.settings)
    seen = []
    with mutant.broken():
        for check in audited(of, 1, FIRST.get(mutant.name, mechanism_checks)):
            if check.verdict == "violated":
                seen.append(check.name)
                if check.name in mutant.caught_by:
                    return
    pytest.fail(f"violated are {seen}, of {sorted(mutant.caught_by)} none")


def passes(settings: tuple[str, ...], seed: int) -> int:
    """Assert that the correct pipeline passes; return how many statistical tests it was given."""
    checks = list(audited(scenario(*settings), seed))
    assert [check for check in checks if check.verdict == "violated"] == []
    failed = [check for check in checks if check.verdict == "not run" and check.name == WATCHED_RUN]
    assert failed == []
    return sum(check.tests for check in checks)


@pytest.mark.parametrize("settings", PLACES[::4], ids=lambda settings: " ".join(settings) or "as it is")
def test_the_correct_pipeline_passes(settings):
    assert 0 < passes(settings, seed=2) * SIGNIFICANCE < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_the_correct_pipeline_passes_whatever_the_seed(seed):
    assert 0 < passes(PLACES[seed % len(PLACES)], seed=1000 + seed) * SIGNIFICANCE < 1e-4
