"""What the commands of ``fedrec server`` share: the folder they are given, and what is opened of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.door.home import ServerHome, ServerSettings
from server.door.publications import Publications, load_signing_key

if TYPE_CHECKING:
    from server.operations.store import OperationsStore

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_server(folder: Path) -> tuple[ServerHome, ServerSettings]:
    """Return a server's folder and settings; ``DataError`` if it is none."""
    home = ServerHome(folder.resolve())
    return home, ServerSettings.load(home.settings)


def operations(home: ServerHome, settings: ServerSettings) -> "OperationsStore":
    """Return the store of what happens in runs, with all taken in that their events tell; ``OperationsError``."""
    from server.operations.store import OperationsStore  # SQLAlchemy

    store = OperationsStore.of(home, settings)
    for found in sorted(home.runs.glob("*/config.toml")):
        store.ingest(found.parent)
    return store


def publications(home: ServerHome) -> Publications:
    """Return what the server publishes, with the key to sign more."""
    return Publications(home.public, load_signing_key(home.signing_key))
