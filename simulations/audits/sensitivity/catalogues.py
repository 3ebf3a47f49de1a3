"""Small public catalogues and models for the sensitivity fuzz, made once a process."""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue, Known
from fedrec.models import FusedRecommender, build_model
from fedrec.models.split import ITEM_FACTORS, SharedState

Content = Literal["attributes", "texts", "images"]

KINDS = 3
"""Distinct descriptions: several items share one, as they do in catalogues."""


@lru_cache(maxsize=16)
def catalogue_of(num_items: int, content: Content = "attributes") -> Catalogue:
    """Return a catalogue of items with attributes and, by ``content``, texts or images of some of them."""
    rng = np.random.default_rng(1)
    features = rng.standard_normal((KINDS, 3)).astype(np.float32)[np.arange(num_items) % KINDS]
    known = np.arange(num_items) % 4 > 0
    texts = images = None
    if content == "texts":
        texts = Known(values=rng.standard_normal((num_items, 3)).astype(np.float32), present=known)
    if content == "images":
        images = Known(values=rng.random((num_items, 1, 8, 8)).astype(np.float32), present=known)
    names = tuple(str(number) for number in range(num_items))
    return Catalogue(
        item_ids=names, titles=names, features=features, feature_names=("x", "y", "z"), texts=texts, images=images
    )


@lru_cache(maxsize=128)
def model_of(config: ModelConfig, num_items: int, content: Content = "attributes") -> FusedRecommender:
    """Return a model of such a catalogue; its parameters mean nothing."""
    return build_model(config, catalogue_of(num_items, content), 0)


@lru_cache(maxsize=128)
def shared_of(
    config: ModelConfig, num_items: int, content: Content, spread: float, huge: bool, seed: int
) -> SharedState:
    """Return shared parameters that are ``spread`` away from fresh ones, so that no gradient vanishes by accident.

    ``huge``: the last item's vectors are so large that whatever multiplies two of them is no number any more. Their
    sign is that by which people who have not met the item do not feel it.
    """
    generator = torch.Generator().manual_seed(seed)
    shared = {}
    for name, value in model_of(config, num_items, content).shared_state().items():
        shared[name] = value + spread * torch.randn(value.shape, generator=generator)
        if huge and name in ("item_tower.id_embedding", "autoencoder.encoder", ITEM_FACTORS):
            shared[name][-1] = -1e25
    return SharedState(shared)
