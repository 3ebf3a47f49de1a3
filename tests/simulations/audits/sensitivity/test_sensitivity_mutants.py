"""The sensitivity fuzz alone on broken variants of the pipeline; all levels together meet them in ``test_mutants``."""

import pytest

from fedrec.config import Scenario
from simulations.audits.sensitivity import sensitivity_checks
from tests.simulations.audits.mutants.contributions import MUTANTS
from tests.simulations.audits.mutants.mutant import Mutant

TINY = Scenario.model_validate({"model": {"dim": 8, "history_length": 10}, "privacy": {"delta": 1e-3}})


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_fuzz_alone_finds_every_broken_bound(mutant: Mutant) -> None:
    with mutant.broken():
        checks = sensitivity_checks(TINY, seed=0, quick=True)
        found = next((check for check in checks if check.verdict == "violated"), None)
    assert found is not None
    assert found.name in mutant.caught_by
