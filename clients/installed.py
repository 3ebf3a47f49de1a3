"""The catalogue and the models of a node, read and built once a process."""

from functools import lru_cache
from pathlib import Path

from clients.store import NodeStore
from fedrec.config import ModelConfig
from fedrec.data.catalogue import FILES, Catalogue
from fedrec.models import FusedRecommender, build_model
from fedrec.rounds import (
    TrainTask,
)


def catalogue_of(store: NodeStore) -> Catalogue:
    """Return the catalogue that is installed on the node."""
    folder = store.catalogue_folder
    return _catalogue(folder, tuple(_stamp(folder / name) for name in FILES))


def model_for(task: TrainTask, store: NodeStore) -> FusedRecommender:
    """Return the model that a task is about, built for the node's own catalogue; its parameters mean nothing."""
    return build(task.model, catalogue_of(store), task.local.seed, store.device)


@lru_cache(maxsize=2)
def _catalogue(folder: Path, stamps: tuple[int, ...]) -> Catalogue:
    """Read a catalogue once a process: many simulated nodes share one. ``stamps`` tells when its files changed."""
    return Catalogue.load(folder)


def _stamp(path: Path) -> int:
    """Return when a file was last written, 0 if there is none: reading it says so."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=2)
def build(config: ModelConfig, catalogue: Catalogue, seed: int, device: str) -> FusedRecommender:
    """Build a model once a process; its shared parameters come with tasks, so that these take no memory."""
    model = build_model(config, catalogue, seed).to(device)
    for parameter in model.shared.parameters():
        parameter.data = parameter.data.new_zeros(()).expand(parameter.shape)
    return model
