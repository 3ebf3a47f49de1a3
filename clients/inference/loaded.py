"""The catalogue and the model that a device serves by just now: read, checked, laid over each other by raw item ids."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.inference.folding import Folding
from clients.inference.items import Items
from clients.inference.scoring import Scorer
from fedrec.errors import DataError
from fedrec.serving.package import ServedModel

logger = logging.getLogger(__name__)

Fingerprint = tuple[int, ...]
"""Tells one state of an artefact's folder from another without reading it."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """A model over a catalogue. ``codes``: the catalogue's code of each model item, -1 for one that it lacks."""

    model: ServedModel
    items: Items

    @cached_property
    def codes(self) -> NDArray[np.int64] | None:
        """Int64 ``[model's items]``; None where both number the same items alike."""
        if self.model.item_ids == self.items.item_ids:
            return None
        return np.array([self.items.codes.get(item, -1) for item in self.model.item_ids], np.int64)

    @cached_property
    def model_codes(self) -> dict[str, int]:
        """The model's code by raw id."""
        if self.codes is None:
            return self.items.codes
        return {item: code for code, item in enumerate(self.model.item_ids)}

    @cached_property
    def never(self) -> NDArray[np.int64]:
        """The model's codes of items that are not to be shown: gone from the catalogue, or reserved for audits."""
        if self.codes is None:
            return self.items.reserved
        reserved = np.isin(self.codes, self.items.reserved)
        return np.flatnonzero((self.codes < 0) | reserved)

    @property
    def num_shared(self) -> int:
        """Items that both have."""
        return len(self.items) if self.codes is None else int((self.codes >= 0).sum())

    def catalogue_code(self, code: int) -> int:
        """Return the catalogue's code of a model's item that the catalogue has."""
        return code if self.codes is None else int(self.codes[code])


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A model that serves, and all that is made of it."""

    version: int
    overlay: Overlay
    scorer: Scorer
    folding: Folding


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """All that answers one request, whatever is installed meanwhile.

    ``items``: None, and version 0, where there is no catalogue. ``problem``: why it is not all of the newest versions,
    for the owner.
    """

    items: Items | None = None
    catalogue_version: int = 0
    served: Served | None = None
    problem: str = ""


def fingerprint(home: DeviceHome) -> tuple[Fingerprint, Fingerprint]:
    """Return what changes when another catalogue or model counts, or the same one was fetched anew."""
    return _fingerprint(home.catalogues), _fingerprint(home.models)


def load(home: DeviceHome, before: Loaded) -> Loaded:
    """Read the versions that count; where one is damaged, the last good one: of ``before``, or the next on the disk."""
    items, catalogue_version, catalogue_problem = _catalogue(home.catalogues, before)
    if items is None:
        return Loaded(problem=catalogue_problem)
    model, model_version, model_problem = _model(home.models, before)
    problems = [catalogue_problem, model_problem]
    served = None
    if model is not None:
        overlay = Overlay(model, items)
        known = overlay.num_shared
        if known < min(2, len(items)):
            problems.append(f"Model {model_version} knows no item of the catalogue: lists are by popularity.")
        else:
            scorer = before.served.scorer if before.served and before.served.scorer.model is model else Scorer(model)
            served = Served(version=model_version, overlay=overlay, scorer=scorer, folding=Folding(scorer))
            if known < len(items):
                problems.append(
                    f"Model {model_version} is of another catalogue: it ranks {known} of {len(items)} items until the "
                    "next comes."
                )
    problem = " ".join(filter(None, problems))
    return Loaded(items=items, catalogue_version=catalogue_version, served=served, problem=problem)


def _catalogue(folder: Path, before: Loaded) -> tuple[Items | None, int, str]:
    problem = ""
    for version in _candidates(folder):
        if before.items is not None and version == before.catalogue_version and problem:
            return before.items, version, problem
        try:
            return Items.load(folder / str(version)), version, problem
        except DataError as error:
            logger.warning("catalogue %d cannot be used: %s", version, error)
            problem = problem or f"Catalogue {version} is damaged and will be fetched again: an earlier one is used."
    if before.items is not None and problem:
        return before.items, before.catalogue_version, problem
    return None, 0, problem.replace("an earlier one is used", "there is no other")


def _model(folder: Path, before: Loaded) -> tuple[ServedModel | None, int, str]:
    problem = ""
    for version in _candidates(folder):
        if before.served is not None and version == before.served.version and problem:
            return before.served.scorer.model, version, problem
        try:
            return _read_model(folder / str(version)), version, problem
        except DataError as error:
            logger.warning("model %d cannot be used: %s", version, error)
            problem = problem or f"Model {version} is damaged and will be fetched again: an earlier one is used."
    if before.served is not None and problem:
        return before.served.scorer.model, before.served.version, problem
    return None, 0, problem.replace("an earlier one is used", "there is no other, lists are by popularity")


def _read_model(folder: Path) -> ServedModel:
    model = ServedModel.load(folder, versions.digests(folder))
    for name, array in model.arrays.items():
        if not np.isfinite(array).all():
            raise DataError(f"{name} of {folder} holds a number that is not finite")
    return model


def _candidates(folder: Path) -> list[int]:
    """Return the version that counts, then those before it, the newest first; where the link is gone, all of them."""
    now = versions.current(folder)
    there = versions.versions(folder)[::-1]
    return there if now is None else [version for version in there if version <= now]


def _fingerprint(folder: Path) -> Fingerprint:
    version = versions.current(folder)
    if version is None:
        return (0,)
    status = (folder / str(version)).stat()
    return version, status.st_ino, status.st_mtime_ns
