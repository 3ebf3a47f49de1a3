"""``fedrec server``: the server of a deployment, from its folder to its runs."""

import datetime
import time
from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.output import write_json, write_line, write_note
from server.door.enrolments import Enrolments
from server.door.home import ServerHome, ServerSettings
from server.door.publications import Publications, load_signing_key
from server.door.setup import init as make_server

server_app = typer.Typer(
    no_args_is_help=True, help="Run a federation's server: enrol devices, train, publish, stop everything."
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@server_app.command()
def init(
    folder: Folder,
    host: Annotated[str, typer.Option(help="Name or address by which devices reach this server.")],
    port: Annotated[int, typer.Option(help="TCP port of the front door.")] = 8443,
    listen: Annotated[str, typer.Option(help="Address of this machine to listen on.")] = "0.0.0.0",
    superlink_port: Annotated[int, typer.Option(help="Loopback port of Flower's SuperLink.")] = 8000,
    door_port: Annotated[int, typer.Option(help="Loopback port of the door service.")] = 8001,
) -> None:
    """Make a server's folder: a private certificate authority, keys, an empty list of devices."""
    settings = ServerSettings(host=host, port=port, listen=listen, superlink_port=superlink_port, door_port=door_port)
    home = make_server(folder, settings, datetime.datetime.now(datetime.UTC))
    write_line(f"made a server for {settings.url} in {folder}")
    write_line(f"devices need {home.authority} and {home.signer}: copy both to them by a way that you trust")
    write_line(f"next: fedrec server up {folder}")


@server_app.command()
def enroll(
    folder: Folder,
    owner: Annotated[str, typer.Option(help="Whose devices they are; quotas are an owner's.")],
    count: Annotated[int, typer.Option(help="Devices that may join by this code.")] = 1,
    hours: Annotated[float, typer.Option(help="Hours until the code expires.", min=0.01, max=24 * 90)] = 24.0,
    json: Json = False,
) -> None:
    """Print a code by which devices may join. It is shown once: the server keeps only its hash."""
    home, settings = _open(folder)
    now = time.time()
    expires = now + hours * 3600
    code = Enrolments.open(home.enrolments).issue(owner, count, expires, now, settings.owner_quota)
    until = datetime.datetime.fromtimestamp(expires, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if json:
        write_json({"code": code, "server": settings.url, "owner": owner, "count": count, "expires": expires})
        return
    write_line(code)
    write_note(f"good for {count} device{'s' if count > 1 else ''} of {owner} until {until}, at {settings.url}")


@server_app.command("kill-switch")
def kill_switch(
    folder: Folder,
    state: Annotated[str, typer.Argument(metavar="on|off")],
    reason: Annotated[str, typer.Option(help="One line for the devices' owners.")] = "",
) -> None:
    """Stop all training on all devices, or let it go on. Recommending never stops."""
    if state not in ("on", "off"):
        raise typer.BadParameter("say on or off", param_hint="on|off")
    home, _ = _open(folder)
    orders = _publications(home).stop(state == "on", reason)
    write_line(f"the kill switch is {state} (orders {orders.sequence}): devices that are online follow within a minute")


def _open(folder: Path) -> tuple[ServerHome, ServerSettings]:
    home = ServerHome(folder.resolve())
    return home, ServerSettings.load(home.settings)


def _publications(home: ServerHome) -> Publications:
    return Publications(home.public, load_signing_key(home.signing_key))
