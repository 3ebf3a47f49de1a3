from dataclasses import replace

import numpy as np
import pytest

from fedrec.baselines.content import fit_popularity, fit_profile, token_columns
from fedrec.baselines.floors import measure_floors
from fedrec.config import DataConfig
from fedrec.data.histories import Histories
from fedrec.data.splits import split_log

FEATURES = np.array([[1, 0, 0.5], [1, 1, -1.0], [0, 1, 0.0], [0, 0, 2.0]], dtype=np.float32)
TRAIN = Histories.from_lists([[0, 1, 0], [1], [1, 3]])


def test_tokens_are_the_columns_of_zeros_and_ones():
    assert token_columns(FEATURES).tolist() == FEATURES[:, :2].tolist()


def test_an_item_is_as_popular_as_its_tokens_are_with_distinct_users():
    # users of items: 1, 3, 0, 1; of tokens: 4 over two items, 3 over one that anybody met
    total = fit_popularity(TRAIN, FEATURES, per_item=False)
    mean = fit_popularity(TRAIN, FEATURES, per_item=True)
    assert total.counts.tolist() == [4.0, 3.5, 3.0, 0.0]
    assert mean.counts.tolist() == [2.0, 2.5, 3.0, 0.0]


def test_the_profile_ranks_by_what_the_user_took_and_an_empty_history_by_popularity():
    features = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
    train = Histories.from_lists([[0, 0], [1], [1]])
    profile = fit_profile(train, features, 0.1)
    scores = profile.score(Histories.from_lists([[0], [2, 2, 1], []]))
    assert np.isfinite(scores).all()
    assert scores[0].argsort()[-2:].tolist() == [0, 3]
    assert scores[1].argmax() == 2
    assert scores[2].argmax() in (1, 4)


def test_the_cold_split_has_floors_that_see_content_and_those_that_do_not_are_at_chance(tiny_dataset):
    splits = split_log(tiny_dataset.log, DataConfig(split="cold-items", cold_share=0.3))
    catalogue = tiny_dataset.catalogue
    rng = np.random.default_rng(0)
    found = measure_floors(splits, catalogue.num_items, (1,), 100, rng, features=catalogue.features)
    assert list(found) == ["popularity", "ease", "markov", "content-popularity", "content-profile"]
    for blind in ("popularity", "ease", "markov"):
        assert found[blind].metrics["hr@1"] == pytest.approx(1 / 9)
    warm = measure_floors(tiny_dataset.splits, catalogue.num_items, (1,), 100, rng, features=catalogue.features)
    assert "content-profile" not in warm
    bare = measure_floors(splits, catalogue.num_items, (1,), 100, rng, features=catalogue.features[:, :0])
    assert "content-profile" not in bare
    unseen = replace(splits, selection=splits.final)
    assert measure_floors(unseen, catalogue.num_items, (1,), 100, rng, features=catalogue.features)
