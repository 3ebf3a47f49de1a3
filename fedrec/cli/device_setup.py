"""``fedrec device init | run | doctor``: make a device, run its roles, say what is wrong with it."""

from pathlib import Path
from typing import Annotated

import typer

from clients.device.locks import Role

Folder = Annotated[Path, typer.Argument(help="The device's folder.", metavar="DIR")]


def init(
    folder: Folder,
    server: Annotated[str, typer.Option(help="HOST:PORT of the server's front door.")],
    authority: Annotated[Path, typer.Option(help="The server's certificate authority (ca.crt), handed over by hand.")],
    key: Annotated[str, typer.Option(help="The device's name at the server; by default fresh and random.")] = "",
    code_file: Annotated[
        Path | None,
        typer.Option(help="File with the enrolment code; else FEDREC_ENROLMENT_CODE, else it is asked for."),
    ] = None,
    signer: Annotated[
        str, typer.Option(help="Hex of the key that signs what the server publishes; by default the door's word.")
    ] = "",
    user: Annotated[list[str] | None, typer.Option(help="Key of a person whose events it holds; once each.")] = None,
) -> None:
    """Make a device: its key, folders and settings; enrol it at the server, and fetch the first catalogue."""
    raise NotImplementedError


def run(
    folder: Folder,
    only: Annotated[Role | None, typer.Option(help="Run one role alone, as the systemd units do.")] = None,
) -> None:
    """Run a device: the local service, the link to the server and the trainer, until it is ended."""
    raise NotImplementedError


def doctor(folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say in plain words what is wrong with a device and what to do; leave with 1 if something is."""
    raise NotImplementedError
