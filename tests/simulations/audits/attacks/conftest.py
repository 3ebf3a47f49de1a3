"""A small population that attacks are tried on, and what they found on it."""

from pathlib import Path

import pytest

from fedrec.audit.findings import Findings
from fedrec.config import Scenario
from simulations.audits.attacks import attack_findings
from simulations.audits.attacks.people import People, people_of
from simulations.audits.attacks.uploads import Devices

SMALL: dict[str, dict[str, object]] = {
    "data": {"synthetic_users": 60, "synthetic_items": 40},
    "model": {"dim": 8, "history_length": 10},
    "training": {"rounds": 2, "sample_rate": 1.0},
    "privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-3},
}


def small(**sections: dict[str, object]) -> Scenario:
    """Return the small scenario with settings laid over its sections."""
    names = {*SMALL, *sections}
    return Scenario.model_validate({name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in names})


@pytest.fixture(scope="session")
def central() -> Findings:
    """What attacks find on a run whose server adds the noise."""
    return attack_findings(small(), seed=1, quick=True)


@pytest.fixture(scope="session")
def on_devices() -> Findings:
    """What attacks find on a run whose devices add noise for a budget of epsilon 1."""
    scenario = small(privacy={"placement": "device", "epsilon": 1.0}, model={"branches": ["mf"]})
    return attack_findings(scenario, seed=1, quick=True)


@pytest.fixture(scope="session")
def people() -> People:
    """Twenty-four attacked users."""
    return people_of(small(), seed=1, count=24)


@pytest.fixture
def devices(people: People, tmp_path: Path) -> Devices:
    """Their devices."""
    return Devices(people, tmp_path)
