import numpy as np
import pytest

from fedrec.config import DataConfig
from fedrec.data.load import load_dataset


@pytest.fixture(scope="session")
def ml_100k(request):
    """MovieLens-100K, which may not be redistributed: read where a developer keeps it."""
    folder = request.config.rootpath.parent / "shared" / "data" / "ml-100k"
    if not folder.is_dir():
        pytest.skip(f"MovieLens-100K is not at {folder}")
    return load_dataset(DataConfig(source=str(folder)), seed=0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
