"""Looks for the data sets that fedrec knows by name, where ``fedrec simulate`` would look. Fetches nothing."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedrec.data.fetch import DATA_VARIABLE, cache_folder, find_dataset
from fedrec.data.recipes import RECIPES
from fedrec.doctor.finding import Finding, bad, good, note


def data_findings(names: Iterable[str] = tuple(RECIPES)) -> Iterator[Finding]:
    """Say which data sets are here and can be read, and whether the folders that hold them can be used.

    ``names``: data sets that could be fetched where they are missing.
    """
    named = os.environ.get(DATA_VARIABLE)
    if named and not Path(named).is_dir():
        detail = f"{DATA_VARIABLE} names {named}, which is no folder"
        yield bad("data", detail, f"correct it, or unset {DATA_VARIABLE}")
    for name in names:
        yield _of(name)
    writable, cache = _writable(cache_folder()), cache_folder()
    if not writable:
        yield bad("data cache", f"{cache} cannot be written", "make it yours, or name another by XDG_CACHE_HOME")
    else:
        yield good("data cache", f"{cache} can be written")


def _of(name: str) -> Finding:
    try:
        folder = find_dataset(name)
        if folder is None:
            return note(f"data {name}", "not on this machine", f"if wanted: fedrec data get {name}")
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError as error:
        return bad(f"data {name}", f"{error.filename} cannot be read: {error.strerror}", "let yourself read it")
    closed = [path for path in files if not os.access(path, os.R_OK)]
    if closed:
        return bad(f"data {name}", f"{closed[0]} cannot be read", f"chmod u+r {closed[0]}")
    empty = [path for path in files if not path.stat().st_size]
    if empty:
        return bad(f"data {name}", f"{empty[0]} is empty", f"delete {folder}, then: fedrec data get {name}")
    return good(f"data {name}", f"{folder}, {len(files)} files")


def _writable(folder: Path) -> bool:
    """Return whether a folder can be written, or made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
