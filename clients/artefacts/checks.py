"""What the content of a catalogue or of a served model must be like before it counts, beside being signed.

A served model moves nothing but this device's own lists: nothing that is computed with it is sent. So these checks ask
whether it can serve and whether it is what its manifest says; those against parameters that read a user out are made on
every task that asks for training (``clients.guard``), and here on the networks once more.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.artefacts.install import Check
from clients.guard.trap_weights import MOST, MOST_OF_MEMBERS, ROW_OUTLIER, suspicious
from fedrec.data.catalogue import FILES, Catalogue
from fedrec.errors import DataError
from fedrec.serving import package
from fedrec.serving.package import ServedModel
from fedrec.signing.manifest import Manifest, Subject

POPULARITY = "popularity.npy"
MODEL_FILES = (package.HEAD, package.ITEMS, package.ARRAYS, package.ROWS)
_CLOSE = 1e-6
"""Relative error of what is computed anew from a model's tables."""


def content_checks(subject: Subject) -> Sequence[Check]:
    """Return the checks of a subject's content, for ``install``."""
    return (_catalogue_fits,) if subject == "catalogue" else (_model_fits,)


def _catalogue_fits(folder: Path, manifest: Manifest) -> str | None:
    odd = sorted(set(manifest.files) - {*FILES, POPULARITY})
    if odd:
        return f"a catalogue has no file {odd[0]!r}"
    try:
        catalogue = Catalogue.load(folder)
    except (DataError, ValueError, KeyError, TypeError) as error:
        return f"it cannot be read: {error}"
    if catalogue.digest != manifest.catalogue_digest:
        return "its ids and content are not those of the digest that was signed"
    if (folder / POPULARITY).exists():
        try:
            counts = np.load(folder / POPULARITY, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            return f"{POPULARITY} cannot be read: {error}"
        if counts.shape != (catalogue.num_items,) or counts.dtype != np.float32 or not np.isfinite(counts).all():
            return f"{POPULARITY} must hold a finite number for each of {catalogue.num_items} items"
    return None


def _model_fits(folder: Path, manifest: Manifest) -> str | None:
    odd = sorted(set(manifest.files) - set(MODEL_FILES))
    if odd:
        return f"a served model has no file {odd[0]!r}"
    try:
        model = ServedModel.load(folder)
    except DataError as error:
        return str(error)
    if model.head.catalogue_digest != manifest.catalogue_digest:
        return "it is of another catalogue than the manifest says"
    return next(_oddities(model), None)


def _oddities(model: ServedModel) -> Iterator[str]:
    every: Mapping[str, NDArray[Any]] = {**model.arrays, **model.rows}
    for name, array in every.items():
        most = MOST_OF_MEMBERS if name.startswith(package.MEMBER) else MOST**2 if name == package.COVARIANCE else MOST
        if array.size and not np.isfinite(array).all():
            yield f"{name} holds a number that is not finite"
        elif array.size and max(float(array.max()), -float(array.min())) > most and not name.endswith("codes"):
            yield f"{name} reaches beyond {most:g}"
    tables = {name: array for name, array in model.arrays.items() if name.startswith(package.TABLE)}
    for name, table in tables.items():
        yield from _of_table(name, table, model.num_items)
    for name, array in model.rows.items():
        if array.ndim != 2 or len(array) != model.num_items:
            yield f"{name} has {len(array)} rows for {model.num_items} items"
        elif name.endswith("codes") and (array.min() < 0 or array.max() >= model.num_items):
            yield f"{name} points outside of the catalogue"
    yield from _of_moments(model.arrays, tables)
    networks = {name: array for name, array in model.arrays.items() if name.startswith(package.NETWORK)}
    suspicion = suspicious(networks)
    if suspicion is not None:
        yield suspicion


def _of_table(name: str, table: NDArray[Any], num_items: int) -> Iterator[str]:
    if table.ndim != 2 or table.shape[1] != num_items:
        yield f"{name} has {table.shape[-1]} rows for {num_items} items"
        return
    lengths = np.sqrt(np.square(table, dtype=np.float64).sum(axis=0))
    usual = float(np.median(lengths[lengths > 0])) if (lengths > 0).any() else 0.0
    if len(table) > 1 and lengths.max() > 1 and lengths.max() > ROW_OUTLIER * usual:
        yield f"{name} has an item {lengths.max() / usual:.0f} times as long as its others"


def _of_moments(arrays: Mapping[str, NDArray[Any]], tables: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Yield where mean and covariance are not those of the tables, so that lists would be wrong without a sign."""
    linear = [tables[name] for name in sorted(tables) if name != package.TABLE + package.NONLINEAR]
    if not linear:
        return
    beside = np.concatenate(linear).astype(np.float64)
    means = beside.mean(axis=1)
    centred = beside - means[:, None]
    expected = {package.MEANS: means, package.COVARIANCE: centred @ centred.T / beside.shape[1]}
    for name, value in expected.items():
        found = arrays.get(name)
        scale = max(float(np.abs(value).max()), 1e-12)
        if found is None or found.shape != value.shape or float(np.abs(found - value).max()) > _CLOSE * scale:
            yield f"{name} is not that of its item tables"
            return
