"""Finding data sets by name: local folders, the user's cache, then sources on the network, verified and cached.

Reads no ratings. What a source delivers is used only if every file has the SHA-256 that its recipe names.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fedrec.data.recipes import RECIPES
from fedrec.data.sources import Recipe, Source
from fedrec.errors import DataError

DATA_VARIABLE = "FEDREC_DATA"
"""Environment variable that names a folder of data sets, one folder each."""

NOTICE_FILE = "NOTICE.txt"


def find_dataset(name: str, folder: Path | None = None) -> Path | None:
    """Return the local folder of a data set, or None; the network is not touched.

    Looked for in ``folder`` (a folder of data sets), ``$FEDREC_DATA``, ``./data`` and the user's cache, in this order.
    """
    if not name or Path(name).name != name:
        return None  # a path is not a name
    return next((place for place in _local_places(name, folder) if place.is_dir() and any(place.iterdir())), None)


def get_dataset(
    name: str,
    folder: Path | None = None,
    recipes: Mapping[str, Recipe] = RECIPES,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Return the folder of a data set, from the network into the user's cache if it is not there yet.

    ``report`` is told what is tried and the licence notice. Raise ``DataError`` that says what was tried if nothing
    worked; the cache then is as it was.
    """
    found = find_dataset(name, folder)
    if found is not None:
        report(f"found {name} in {found}")
        return found
    recipe = recipes.get(name)
    if recipe is None:
        raise DataError(_not_found(name, folder, ["no source on the network is known for it"]))
    failures = []
    for source in recipe.sources:
        report(f"trying {source.name}")
        try:
            return _fetch(name, source, recipe.notice, report)
        except DataError as error:
            failures.append(f"{source.name}: {error}")
    raise DataError(_not_found(name, folder, failures))


def cache_folder() -> Path:
    """Return the user's cache of data sets, which need not exist (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fedrec" / "data"


def _local_places(name: str, folder: Path | None) -> list[Path]:
    named = os.environ.get(DATA_VARIABLE)
    parents = [*([folder] if folder else []), *([Path(named)] if named else []), Path("data"), cache_folder()]
    return [parent / name for parent in parents]


def _not_found(name: str, folder: Path | None, failures: Sequence[str]) -> str:
    places = ", ".join(str(place) for place in _local_places(name, folder))
    return (
        f"data set {name!r} is not available: not in {places}; {'; '.join(failures)}; "
        f"put its files into a folder {name} and name the folder around it in {DATA_VARIABLE}"
    )


def _fetch(name: str, source: Source, notice: str, report: Callable[[str], None]) -> Path:
    """Let ``source`` deliver into a temporary folder, verify, and move it into the cache in one step."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache) as temporary:
        raw, ready = Path(temporary) / "raw", Path(temporary) / "ready"
        raw.mkdir()
        ready.mkdir()
        source.deliver(raw)
        for file, expected in source.files.items():
            _verify(raw / file, expected)
            shutil.move(raw / file, ready / file)
        (ready / NOTICE_FILE).write_text(f"{notice}\nTaken from {source.name}.\n", encoding="utf-8")
        report(notice)
        return _publish(ready, cache / name)


def _verify(file: Path, expected: str) -> None:
    if not file.is_file():
        raise DataError(f"{file.name} was not in what it delivered")
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != expected:
        raise DataError(f"{file.name} has SHA-256 {found[:16]}..., expected {expected[:16]}...")


def _publish(ready: Path, final: Path) -> Path:
    for file in ready.iterdir():
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
    try:
        ready.rename(final)
    except OSError:
        if not (final.is_dir() and any(final.iterdir())):
            raise
        # another process was faster; what it verified is what we verified
    return final
