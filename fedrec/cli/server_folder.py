"""What the commands of ``fedrec server`` share: the folder they are given, and what is opened of it."""

from pathlib import Path
from typing import Annotated

import typer

from server.door.home import ServerHome, ServerSettings
from server.door.publications import Publications, load_signing_key

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_server(folder: Path) -> tuple[ServerHome, ServerSettings]:
    """Return a server's folder and settings; ``DataError`` if it is none."""
    home = ServerHome(folder.resolve())
    return home, ServerSettings.load(home.settings)


def publications(home: ServerHome) -> Publications:
    """Return what the server publishes, with the key to sign more."""
    return Publications(home.public, load_signing_key(home.signing_key))
