"""What tests of all parts share: where real data may lie, and a small synthetic data set."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fedrec.config import DataConfig
from fedrec.data.load import Dataset, load_dataset

# A shared core may stall any example, and so the drawing of examples too.
settings.register_profile("fedrec", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedrec")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of public data sets (ml-100k, ...); skip where there is none."""
    named = os.environ.get("FEDREC_DATA")
    for folder in [*([Path(named)] if named else []), ROOT.parent / "shared" / "data"]:
        if (folder / "ml-100k").is_dir():
            return folder
    pytest.skip("no real data at hand: FEDREC_DATA names no folder that holds ml-100k, nor is it in ../shared/data")


@pytest.fixture(scope="session")
def ml_100k(shared_data: Path) -> Dataset:
    """Return MovieLens-100K, which may not be redistributed: read where it lies."""
    return load_dataset(DataConfig(source=str(shared_data / "ml-100k")), seed=0)


@pytest.fixture(scope="session")
def tiny_dataset() -> Dataset:
    """Return 40 synthetic users and 30 items, loaded as a run would."""
    return load_dataset(DataConfig(synthetic_users=40, synthetic_items=30), seed=0)
