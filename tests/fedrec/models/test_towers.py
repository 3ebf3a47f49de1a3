import numpy as np
import pytest
import torch
from torch import nn

from fedrec.errors import ConfigError
from fedrec.models.content import ATTRIBUTES, IMAGE, TEXT, ItemContent, Modality
from fedrec.models.image import ImageNetwork
from fedrec.models.towers import ItemTower

NUM_ITEMS, DIM = 9, 5


def content(rng, absent=()):
    """All three modalities; ``absent`` pairs of modality and item are marked so, with numbers that must not matter."""
    values = {
        ATTRIBUTES: rng.integers(0, 2, (NUM_ITEMS, 3)),
        IMAGE: rng.integers(0, 2, (NUM_ITEMS, 2, 6, 5)),
        TEXT: rng.standard_normal((NUM_ITEMS, 4)),
    }
    present = {name: torch.ones(NUM_ITEMS, dtype=torch.bool) for name in values}
    for name, item in absent:
        present[name][item] = False
    return ItemContent(
        num_items=NUM_ITEMS,
        modalities={
            name: Modality(values=torch.from_numpy(rows.astype(np.float32)), present=present[name])
            for name, rows in values.items()
        },
    )


def tower_of(items, **settings):
    torch.manual_seed(0)
    return ItemTower(items, DIM, **settings)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_image_network_is_two_convolutions_of_torch_and_a_mean():
    torch.manual_seed(1)
    network = ImageNetwork((3, 9, 7), DIM)
    images = torch.randn(4, 3, 9, 7)
    plain = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()
    )
    with torch.no_grad():
        for layer, ours in ((plain[0], network.first), (plain[2], network.second)):
            layer.weight.copy_(ours.weight.view_as(layer.weight))
            layer.bias.copy_(ours.bias)
        expected = network.output(plain(images).mean((2, 3)))
        torch.testing.assert_close(network(images), expected)


def test_stacked_weights_give_what_each_users_weights_give_alone(rng):
    items = content(rng, absent=[(IMAGE, 2), (TEXT, 2), (ATTRIBUTES, 3)])
    towers = [ItemTower(items, DIM, hides_ids=True) for _ in range(3)]
    kept = torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 1, 0])
    stacked = {
        name: torch.stack([dict(tower.named_parameters())[name] for tower in towers])
        for name, _ in towers[0].named_parameters()
    }
    rows = torch.from_numpy(rng.integers(0, NUM_ITEMS, (3, 4)))
    own = {
        **stacked,
        "id_embedding": torch.stack([ids[at] for ids, at in zip(stacked["id_embedding"], rows, strict=True)]),
    }
    alone = []
    for tower in towers:
        tower.id_kept.copy_(kept)
        alone.append(tower())

    whole = torch.func.functional_call(towers[0], {**stacked, "id_kept": kept}, ())
    part = torch.func.functional_call(towers[0], {**own, "id_kept": kept}, (rows,))

    torch.testing.assert_close(whole, torch.stack(alone))
    torch.testing.assert_close(part, torch.stack([vectors[at] for vectors, at in zip(alone, rows, strict=True)]))


def test_an_items_vector_is_its_id_plus_the_mean_of_the_modalities_that_it_has(rng):
    absent = [
        (IMAGE, 1),
        (IMAGE, 2),
        (TEXT, 2),
        (TEXT, 4),
        (ATTRIBUTES, 4),
        *[(name, 5) for name in (ATTRIBUTES, IMAGE, TEXT)],
    ]
    items = content(rng, absent)
    tower = tower_of(items)
    found = tower()
    networks = {ATTRIBUTES: tower.content, IMAGE: tower.image, TEXT: tower.text}
    for item in range(NUM_ITEMS):
        parts = [
            networks[name](modality.values[item : item + 1])[0]
            for name, modality in items.modalities.items()
            if (name, item) not in absent
        ]
        mean = torch.stack(parts).mean(0) if parts else torch.zeros(DIM)
        torch.testing.assert_close(found[item], tower.id_embedding[item] + mean)


def test_what_stands_in_the_place_of_an_absent_modality_does_not_matter(rng):
    items = content(rng, absent=[(IMAGE, 3), (TEXT, 3)])
    before = tower_of(items)()
    for name in (IMAGE, TEXT):
        items.modalities[name].values[3] = torch.nan
    torch.testing.assert_close(tower_of(items)(), before)


def test_a_modality_that_no_item_has_is_as_if_the_catalogue_had_none(rng):
    bare = ItemContent.of(torch.zeros(NUM_ITEMS, 0))
    assert not bare.modalities
    assert list(tower_of(bare).modalities) == []
    with pytest.raises(ConfigError, match=r"data\.items"):
        tower_of(bare, item_embeddings=False)


def test_text_alone_is_content_enough_for_items_without_embeddings(rng):
    text = content(rng).modalities[TEXT]
    tower = tower_of(ItemContent(num_items=NUM_ITEMS, modalities={TEXT: text}), item_embeddings=False)
    torch.testing.assert_close(tower(), tower.text(text.values))


def test_a_hidden_id_leaves_content_alone_and_gets_no_gradient(rng):
    tower = tower_of(content(rng), hides_ids=True)
    bare = tower() - tower.id_embedding
    tower.id_kept[4] = 0
    vectors = tower()
    torch.testing.assert_close(vectors[4], bare[4])
    vectors.sum().backward()
    assert not tower.id_embedding.grad[4].any()
    assert tower.id_embedding.grad[3].all()
