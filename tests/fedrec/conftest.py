"""A small catalogue."""

import numpy as np
import pytest

from fedrec.data.catalogue import Catalogue


@pytest.fixture
def catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    return Catalogue(
        item_ids=tuple(f"i{n}" for n in range(11)),
        titles=tuple(f"Item {n}" for n in range(11)),
        features=rng.standard_normal((11, 3)).astype(np.float32),
        feature_names=("x", "y", "z"),
    )
