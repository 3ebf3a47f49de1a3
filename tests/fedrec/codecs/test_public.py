"""Public numbers: reproducible, unlike for any other use, and of the distribution that they claim."""

import numpy as np
import pytest

from fedrec.codecs.public import PublicSeed

SEED = PublicSeed(run=1, round=3)


def test_asking_for_more_words_does_not_change_the_first():
    assert SEED.words("use", "w", 2).tolist() == SEED.words("use", "w", 5).tolist()[:2]
    assert SEED.words("use", "w", 0).tolist() == []


@pytest.mark.parametrize(
    ("seed", "purpose", "name"),
    [
        (PublicSeed(run=2, round=3), "use", "w"),
        (PublicSeed(run=1, round=4), "use", "w"),
        (SEED, "other", "w"),
        (SEED, "use", "v"),
        (PublicSeed(run=13, round=3), "use", "w"),
    ],
)
def test_other_uses_have_other_words(seed, purpose, name):
    assert seed.words(purpose, name, 4).tolist() != SEED.words("use", "w", 4).tolist()


def test_normals_are_standard_normal():
    drawn = SEED.normals("use", "w", 20_000)
    assert np.isfinite(drawn).all()
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03
    assert abs((drawn < 1).mean() - 0.8413) < 0.02
