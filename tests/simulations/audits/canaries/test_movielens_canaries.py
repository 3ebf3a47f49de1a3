"""Canaries in runs of MovieLens-100K under the presets: the figures of ``docs/audit.md``."""

from pathlib import Path

import pytest

from fedrec.config import Scenario
from fedrec.config.named import read_scenario
from simulations.audits.canaries import run_findings
from simulations.audits.canaries.findings import BY_CURVE
from simulations.audits.canaries.repeat import with_canaries
from tests.simulations.audits.canaries.canary_runs import simulated


def preset(name: str, shared_data: Path) -> Scenario:
    return with_canaries(read_scenario("ml-100k", [f"data.source={shared_data / 'ml-100k'}"], name), 2000)


def told(out: Path) -> tuple[float, float, float]:
    """Return what is claimed, and the bounds that are shown and judged."""
    bound = next(one for one in run_findings(out).bounds if one.method == BY_CURVE)
    assert bound.claimed is not None
    assert bound.lower is not None
    assert bound.judged is not None
    print(f"claimed {bound.claimed:.2f}, shown {bound.lower:.2f}, judged {bound.judged:.2f}")
    return bound.claimed, bound.lower, bound.judged


@pytest.mark.slow
@pytest.mark.parametrize("name", ["epsilon-4", "epsilon-8"])
def test_noise_that_is_left_out_shows_more_than_the_claim_and_noise_as_claimed_less(
    tmp_path: Path, shared_data: Path, name: str
) -> None:
    scenario = preset(name, shared_data)
    claimed, shown, judged = told(simulated(scenario, tmp_path / "as-it-is"))
    assert judged <= shown < claimed
    claimed, shown, judged = told(simulated(scenario, tmp_path / "bare", noise=0.0))
    assert shown > claimed
    if name == "epsilon-4":  # a single run judges claims of up to about 4
        assert judged > claimed
