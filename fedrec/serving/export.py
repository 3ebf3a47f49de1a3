"""From a finished run to what its server publishes: the served model and the catalogue. The torch side of serving."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from fedrec.audit.record.checkpoint_files import CheckpointFile, read_checkpoint
from fedrec.config import LocalConfig
from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError, DataError, ModelMismatchError
from fedrec.models import FusedRecommender, SharedState, build_model
from fedrec.models.fusion import NEIGHBOURS, tables_of
from fedrec.models.split import MEMBERS as MEMBERS_SHARED
from fedrec.models.split import MIXING as MIXING_SHARED
from fedrec.models.split import RELEASED, check_fits
from fedrec.runs.folder import RunFolder
from fedrec.serving import package
from fedrec.serving.package import Array, FoldIn, ServedHead, unservable, write_model
from fedrec.training.cold_items import with_cold_items
from fedrec.training.scoring import NEW_USER_RATE, NEW_USER_STEPS
from fedrec.training.tail_average import averaged

POPULARITY = "popularity.npy"
"""Released item counts beside a published catalogue: what devices rank by before their first model."""

_SHARED, _AVERAGE, _POPULARITY = "shared.", "average.", "popularity"
_ENCODER = "autoencoder.encoder"
_ROWS = ("weights", "codes")
"""Members' tensors that requests look a few rows up in."""
_BY_ITEM = ("factors", "vectors")
"""Members' tensors that are multiplied with a query, ``[num_items, width]``."""


def export_run(run: Path, folder: Path) -> None:
    """Write the served model of a run's latest checkpoint into ``folder``, which is made.

    ``run``: a folder that ``fedrec simulate`` or a deployed server made. Raises ``ConfigError`` where it holds no
    checkpoint, ``DataError`` for a damaged one, ``ModelMismatchError`` naming what of the model devices cannot serve.
    """
    opened = RunFolder.open(run)
    scenario = opened.scenario()
    catalogue = Catalogue.load(opened.catalogue)
    model = build_model(scenario.model, catalogue, scenario.run.seed)
    file, tensors = _latest(opened)
    shared = _part(tensors, _SHARED)
    check_fits(shared, model.shared_state(), f"checkpoint {file.path}")
    if file.head["catalogue_digest"] != catalogue.digest:
        raise ModelMismatchError(f"checkpoint {file.path} is of another catalogue than {opened.catalogue}: restore it")
    served = averaged(SharedState(shared), _part(tensors, _AVERAGE))
    complete = with_cold_items(model, served, catalogue, tensors.get(_POPULARITY))
    fold = fold_in_of(scenario.training.local)
    export_model(folder, model, complete, catalogue, run_id=file.run, round=file.round, fold_in=fold)


def export_catalogue(run: Path, folder: Path) -> None:
    """Write a run's catalogue into ``folder``, which is made, with released item counts where the run has some."""
    opened = RunFolder.open(run)
    Catalogue.load(opened.catalogue).save(folder)
    try:
        popularity = _latest(opened)[1].get(_POPULARITY)
    except ConfigError:  # no round has ended: a catalogue may be published before there is a model
        return
    if popularity is not None:
        np.save(folder / POPULARITY, popularity.numpy().astype(np.float32), allow_pickle=False)


def fold_in_of(local: LocalConfig) -> FoldIn:
    """Return how users whom no trainer has fitted are fitted: as in training where it makes them anew each round."""
    if local.private_start == "ridge":
        return FoldIn(way="ridge", ridge=local.ridge, ridge_unobserved=local.ridge_unobserved)
    if local.private_start == "rebuilt" and local.loss == "softmax":
        rate, optimizer = local.private_learning_rate, local.private_optimizer
        return FoldIn(steps=local.private_steps, rate=rate, optimizer=optimizer)
    return FoldIn(steps=NEW_USER_STEPS, rate=NEW_USER_RATE, optimizer=LocalConfig().private_optimizer)


def export_model(
    folder: Path,
    model: FusedRecommender,
    shared: SharedState,
    catalogue: Catalogue,
    *,
    run_id: str,
    round: int,
    fold_in: FoldIn,
) -> None:
    """Write a model under these shared parameters as devices serve it.

    ``shared``: on the CPU, cold items filled. Item tables are made once, here; what only training reads is left out.
    """
    settings = model.config.model_dump(mode="json")
    unknown = unservable(settings)
    if unknown:
        raise ModelMismatchError(f"devices cannot serve {unknown}: leave it out of the model that is published")
    shared = SharedState({name: value.detach().cpu() for name, value in shared.items()})
    with torch.no_grad():
        tables = {name: _numbers(value.T) for name, value in tables_of(model, shared).items() if name != "rating"}
    arrays: dict[str, Array] = {package.TABLE + name: value for name, value in tables.items()}
    rows: dict[str, Array] = {}
    if model.config.branches:
        arrays |= _networks(model, shared) | _moments(tables)
    if "autoencoder" in model.config.branches:
        rows[_ENCODER] = _numbers(shared[_ENCODER])
    template = model.private_template()
    arrays |= {package.PRIVATE + name: _numbers(value[0]) for name, value in template.items()}
    arrays |= {
        package.MIXING + name.removeprefix(MIXING_SHARED): _numbers(value)
        for name, value in shared.items()
        if name.startswith(MIXING_SHARED)
    }
    _add_members(shared, arrays, rows)
    _check_finite({**arrays, **rows})
    head = ServedHead(
        run=run_id,
        round=round,
        catalogue_digest=catalogue.digest,
        num_items=catalogue.num_items,
        settings=settings,
        fold_in=fold_in,
        files={},
    )
    write_model(folder, head, catalogue.item_ids, arrays, rows)


def _networks(model: FusedRecommender, shared: SharedState) -> dict[str, Array]:
    """Return the shared networks' parameters that a user's queries are made by."""
    ready = ("item_tower.", "factors.", "rating.", "fusion.", RELEASED, MEMBERS_SHARED, MIXING_SHARED)
    tables = model.item_parameters
    found = {
        package.NETWORK + name: _numbers(value)
        for name, value in shared.items()
        if not name.startswith(ready) and name not in tables
    }
    branches = len(model.config.branches)
    logits = shared.get("fusion.logits")
    weights = torch.ones(branches) if logits is None else branches * torch.softmax(logits, dim=-1)
    found[package.FUSION] = _numbers(weights)
    if NEIGHBOURS in model.config.branches:
        own = f"{RELEASED}neighbours."
        found |= {f"{package.NETWORK}neighbours.{part}": _numbers(shared[own + part]) for part in ("spectrum", "scale")}
        found[package.CENTRE] = _numbers(shared[own + "vectors"].mean(0))
    return found


def _moments(tables: Mapping[str, NDArray[np.float32]]) -> dict[str, Array]:
    """Return mean and covariance over items of all tables that are asked by inner products, side by side by name."""
    linear = [tables[name].astype(np.float64) for name in sorted(tables) if name != package.NONLINEAR]
    if not linear:
        return {}
    beside = np.concatenate(linear)
    means = beside.mean(axis=1)
    centred = beside - means[:, None]
    return {package.MEANS: means, package.COVARIANCE: centred @ centred.T / beside.shape[1]}


def _add_members(shared: SharedState, arrays: dict[str, Array], rows: dict[str, Array]) -> None:
    for name, value in shared.items():
        if not name.startswith(MEMBERS_SHARED):
            continue
        key = package.MEMBER + name.removeprefix(MEMBERS_SHARED)
        tensor = name.rpartition(".")[2]
        if tensor in _ROWS:
            rows[key] = value.numpy().astype(np.int32) if tensor == "codes" else _numbers(value)
        else:
            arrays[key] = _numbers(value.T) if tensor in _BY_ITEM else _numbers(value)


def _check_finite(arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ModelMismatchError(f"{name} of the model holds a number that is not finite: it is not published")


def _numbers(value: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = np.ascontiguousarray(value.detach().cpu().numpy(), dtype=np.float32)
    return numbers


def _latest(opened: RunFolder) -> tuple[CheckpointFile, dict[str, Tensor]]:
    paths = sorted(opened.checkpoints.glob("round-*.safetensors"))
    if not paths:
        raise ConfigError(f"{opened.checkpoints} holds no checkpoint: the run has not finished a round; go on with it")
    file = read_checkpoint(paths[-1])
    if file.digest != file.head["digest"]:
        raise DataError(f"{file.path} is damaged: remove it to publish the one before")
    return file, load_file(file.path)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
