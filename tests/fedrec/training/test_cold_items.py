import numpy as np
import pytest
import torch

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue, Known
from fedrec.models import build_model
from fedrec.models.split import SharedState
from fedrec.training.cold_items import (
    RIDGE_GRID,
    _Mapping,
    cold_items,
    public_content,
    with_cold_items,
    with_content_for,
)

NUM_ITEMS = 60
RNG = np.random.default_rng(0)
CATALOGUE = Catalogue(
    item_ids=tuple(f"i{n}" for n in range(NUM_ITEMS)),
    titles=tuple(f"Item {n}" for n in range(NUM_ITEMS)),
    features=RNG.integers(0, 2, (NUM_ITEMS, 4)).astype(np.float32),
    feature_names=tuple("abcd"),
)
TABLES = {"factors.embedding": None, "factors.bias": None}


def test_exact_counts_tell_cold_items_by_zero():
    assert cold_items(torch.tensor([0.0, 3, 1, 0]), {}, {}).tolist() == [True, False, False, True]


def test_noisy_counts_must_rise_above_their_noise():
    generator = torch.Generator().manual_seed(0)
    counts = 5 * torch.randn(2000, generator=generator)
    counts[:500] += 100
    cold = cold_items(counts, {}, {})
    assert not cold[:500].any()
    assert cold[500:].float().mean() > 0.95


def test_without_counts_an_item_is_cold_if_nothing_of_it_moved():
    before = {"a": torch.arange(8.0).reshape(4, 2), "b": torch.zeros(4)}
    after = {"a": before["a"].clone(), "b": torch.tensor([0.0, 0, 1, 0])}
    after["a"][1, 0] = 9
    assert cold_items(None, after, before).tolist() == [True, False, False, True]
    assert not len(cold_items(None, {}, {}))


def test_parameters_that_content_explains_are_filled_in_as_it_says():
    truth = torch.from_numpy(CATALOGUE.features) @ torch.randn(4, 3, generator=torch.Generator().manual_seed(1)) + 2
    cold = torch.arange(NUM_ITEMS) % 7 == 0
    noisy = SharedState(
        {"factors.embedding": truth.clone(), "factors.bias": truth[:, 0].clone(), "other": torch.ones(2)}
    )
    for name in TABLES:
        noisy[name][cold] = 99
    filled = with_content_for(cold, noisy, TABLES, CATALOGUE)
    torch.testing.assert_close(filled["factors.embedding"], truth, atol=0.05, rtol=0)
    torch.testing.assert_close(filled["factors.bias"], truth[:, 0], atol=0.05, rtol=0)
    assert filled["other"] is noisy["other"]
    for name in TABLES:
        assert filled[name][~cold].equal(noisy[name][~cold])


def test_parameters_that_content_does_not_explain_become_the_mean_of_the_others():
    bare = Catalogue(
        item_ids=CATALOGUE.item_ids,
        titles=CATALOGUE.titles,
        features=CATALOGUE.features[:, :0],
        feature_names=(),
    )
    cold = torch.arange(NUM_ITEMS) < 5
    bias = torch.randn(NUM_ITEMS, generator=torch.Generator().manual_seed(2))
    filled = with_content_for(cold, SharedState({"factors.bias": bias}), {"factors.bias": None}, bare)
    torch.testing.assert_close(filled["factors.bias"][:5], bias[5:].mean().expand(5))


@pytest.mark.parametrize("cold", [torch.zeros(NUM_ITEMS, dtype=torch.bool), torch.ones(NUM_ITEMS, dtype=torch.bool)])
def test_nothing_changes_where_there_is_nothing_to_fill_or_to_learn_from(cold):
    shared = SharedState({"factors.bias": torch.ones(NUM_ITEMS)})
    assert with_content_for(cold, shared, {"factors.bias": None}, CATALOGUE) is shared


def test_the_weight_of_the_ridge_is_what_leaving_each_item_out_favours():
    """The error by the hat matrix is that of as many regressions, each without one item."""
    inputs, outputs = RNG.standard_normal((12, 5)), RNG.standard_normal((12, 2))
    mapping = _Mapping(inputs)
    ridge = RIDGE_GRID[2]
    errors = 0.0
    for row in range(12):
        rest = np.arange(12) != row
        design = np.concatenate([inputs[rest] - inputs.mean(0), np.ones((11, 1))], axis=1)
        penalty = ridge * np.diag([1.0] * 5 + [0.0])
        fitted = np.linalg.solve(design.T @ design + penalty, design.T @ outputs[rest])
        errors += float(((outputs[row] - np.append(inputs[row] - inputs.mean(0), 1) @ fitted) ** 2).sum())
    centred = outputs - outputs.mean(0)
    assert mapping._left_out(centred, mapping._shrinkage(ridge)) == pytest.approx(errors, rel=1e-6)


def test_texts_and_images_are_content_too_where_they_are_present():
    present = np.arange(NUM_ITEMS) % 2 == 0
    known = Catalogue(
        item_ids=CATALOGUE.item_ids,
        titles=CATALOGUE.titles,
        features=CATALOGUE.features,
        feature_names=CATALOGUE.feature_names,
        described=present,
        texts=Known(values=np.ones((NUM_ITEMS, 3), np.float32), present=present),
        images=Known(values=np.full((NUM_ITEMS, 2, 4, 4), 0.5, np.float32), present=present),
    )
    content = public_content(known)
    assert content.shape == (NUM_ITEMS, 4 + 3 + 2)
    assert not content[1].any()
    assert content[0, 4:].tolist() == [1, 1, 1, 0.5, 0.5]


def test_a_models_tables_are_filled_by_released_counts():
    model = build_model(ModelConfig(dim=3), CATALOGUE, 0)
    shared = model.shared_state()
    counts = torch.ones(NUM_ITEMS)
    counts[4] = 0
    filled = with_cold_items(model, shared, CATALOGUE, counts)
    changed = {name for name in shared if not filled[name].equal(shared[name])}
    assert changed == {"item_tower.id_embedding", "factors.embedding"}  # all biases are zero still
    assert all(filled[name][5].equal(shared[name][5]) for name in changed)
    assert with_cold_items(model, shared, CATALOGUE, None)["factors.bias"].equal(shared["factors.bias"])
