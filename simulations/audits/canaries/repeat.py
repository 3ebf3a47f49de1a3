"""A finished run's scenario once more, with canaries: what level 4 looks at where the run itself has none."""

from pathlib import Path

from fedrec.config import Scenario
from fedrec.config.audit import DEFAULT_CANARIES
from fedrec.errors import ConfigError
from fedrec.runs.folder import RunFolder
from simulations.progress import Progress
from simulations.simulate import simulate

REPEATS = 3
"""Runs by which a verdict that may be wrong once in a million times reaches claims of up to about epsilon 8: a single
one reaches 4."""


def repeat_with_canaries(
    run: Path, out: Path, canaries: int = DEFAULT_CANARIES, progress: Progress | None = None
) -> Path:
    """Repeat the scenario of ``run`` with canaries, into the new or empty folder ``out``, and return that.

    It is another run: users are the same and ``canaries`` more, with coins, noise and cohorts of the operating system,
    so that each repetition says something of its own; all other settings are as they were but for what only measures.
    It charges a ledger of its own, for nothing of it is ever shown. Needs the data.
    Raises ``ConfigError`` for a run that makes no user-level claim, and what ``simulate`` raises.
    """
    scenario = RunFolder.open(run).scenario()
    if not scenario.privacy.enabled:
        raise ConfigError(
            f"{run} makes no user-level claim (privacy.enabled=false): there is nothing to put to the test"
        )
    simulate(with_canaries(scenario, canaries), out, progress=progress)
    return out


def with_canaries(scenario: Scenario, canaries: int) -> Scenario:
    """Return the scenario with canaries and without what only measures, or charges a ledger that others share."""
    evaluation = scenario.evaluation.model_copy(
        update={"every": 0, "floors": False, "bootstrap": 100, "sampled_negatives": 0}
    )
    return scenario.model_copy(
        update={
            "audit": scenario.audit.model_copy(update={"canaries": canaries}),
            "evaluation": evaluation,
            "privacy": scenario.privacy.model_copy(
                update={"population_epsilon": None, "population_ledger": "", "noise_seed": None}
            ),
            "run": scenario.run.model_copy(update={"trackers": ()}),
        }
    )
