"""The app bundle that a server submits: built from the installed code alone, so that equal code gives equal bytes.

A device builds it from its own installation and compares hashes; it neither unpacks nor imports a bundle that came
over the network. Flower's build sorts files, dates them alike and stores them without compressing, so nothing of a
machine is in the bytes: only fedrec's version and its code.
"""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from flwr.cli.build import build_fab_from_files

import fedrec
from fedrec.errors import DataError

SHELLS = ("clients", "server")
"""What a bundle holds beside the package itself."""

_PROJECT = """\
[project]
name = "fedrec"
version = "{version}"
description = "Federated, privacy-preserving recommendation."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedrec"
fab-include = ["fedrec/**/*.py", "clients/**/*.py", "server/**/*.py"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "clients.app:app"

[tool.flwr.app.config]
run = ""
"""


def build_bundle(app: Path) -> bytes:
    """Return the bundle of the running installation; ``app``: the folder that holds ``clients`` and ``server``."""
    with warnings.catch_warnings():
        # flwr 1.41 names its patterns in a way that pathspec 1.0 has a newer name for.
        warnings.filterwarnings("ignore", message="GitWildMatchPattern", category=DeprecationWarning)
        content, _ = build_fab_from_files(dict(app_files(app)))
    return content


def app_files(app: Path) -> Iterator[tuple[str, bytes | Path]]:
    """Yield names and contents of what a bundle is built from; ``DataError`` if ``app`` lacks a shell."""
    yield "pyproject.toml", _PROJECT.format(version=fedrec.__version__).encode()
    for name, path in _modules(Path(fedrec.__file__).resolve().parent):
        yield f"fedrec/{name}", path
    for shell in SHELLS:
        if not (app / shell / "__init__.py").is_file():
            raise DataError(f"{app} does not hold {shell}: install fedrec from its wheel, or run it from a checkout")
        for name, path in _modules(app / shell):
            yield f"{shell}/{name}", path


def bundle_hash(content: bytes) -> str:
    """Return the name that Flower gives to a bundle: its SHA-256 as hex."""
    return hashlib.sha256(content).hexdigest()


def _modules(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if name.parts[0] != "_app":  # the shells of an installed wheel lie inside the package
            yield name.as_posix(), path
