"""``fedrec server``: the server of a deployment, from its folder to its runs."""

import datetime
import os
import sys
import time
from dataclasses import asdict
from typing import Annotated

import typer

from fedrec.cli.output import write_json, write_line, write_note, write_table
from fedrec.cli.server_console import console
from fedrec.cli.server_folder import Folder, Json, operations
from fedrec.cli.server_folder import open_server as _open
from fedrec.cli.server_folder import publications as _publications
from fedrec.cli.server_operations import alarms, commands_of, figures, operate, pause, resume, rollback, rollout, runs
from fedrec.cli.server_runs import publish, stop_runs, train
from fedrec.signing.orders import Pace, Spread
from server.door.enrolments import Enrolments
from server.door.home import ServerSettings
from server.door.running import up as run_server
from server.door.setup import init as make_server
from server.door.setup import renew_certificates
from server.operations.under_way import UnderWay

server_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run a federation's server: enrol devices, train, publish, stop everything.",
)


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
    devices = f"{count} device{'s' if count > 1 else ''}"
    write_note(f"good for {devices} of {owner} until {until}; there, with the code in a file:")
    trusted = f"--authority {home.authority.name} --signer {home.signer.name} --code-file code.txt"
    write_note(f"  fedrec device init DIR --server {settings.url.removeprefix('https://')} {trusted}")


@server_app.command()
def up(
    folder: Folder,
    volatile: Annotated[
        bool, typer.Option("--volatile", help="Accept a folder in memory (tmpfs): for tries, never in production.")
    ] = False,
) -> None:
    """Run the server until Ctrl-C or SIGTERM: Flower's SuperLink and the door on loopback, nginx in front.

    A run that was under way when something of it died is taken up again by itself, from its last committed round.
    """
    home, settings = _open(folder)
    if os.geteuid() == 0:
        write_note("running as root: in production give the server a user of its own (server/deploy/)")
    run_server(home, settings, volatile=volatile, ready=lambda: _say_ready(settings), broke=write_note)


def _say_ready(settings: ServerSettings) -> None:
    write_line(f"serving {settings.url}")
    sys.stdout.flush()  # whoever waits for this line reads a pipe


@server_app.command(hidden=True)
def door(folder: Folder) -> None:
    """Run the door service alone, once the SuperLink answers: ``up`` starts both."""
    from dataclasses import replace  # only this command serves

    import uvicorn  # comes with flwr

    from server.door.flower import SuperLink, answers  # flwr
    from server.door.service import make_door, make_service, wait_for_superlink  # the same
    from server.operations.health import make_health  # SQLAlchemy

    home, settings = _open(folder)
    wait_for_superlink(home, settings)
    superlink = SuperLink.of(home, settings)
    health = make_health(home, settings, lambda: answers(superlink))
    service = make_service(replace(make_door(home, settings), problems=health.problems, run_metrics=health.metrics))
    uvicorn.run(
        service, host="127.0.0.1", port=settings.door_port, access_log=False, log_level="warning", server_header=False
    )


@server_app.command()
def revoke(folder: Folder, key: Annotated[str, typer.Argument(metavar="KEY", help="The device's name.")]) -> None:
    """Take a device off the list for good: it cannot connect, and what it has under way is dropped."""
    from server.door.flower import SuperLink, SuperLinkError  # flwr takes seconds to import

    home, settings = _open(folder)
    device = Enrolments.open(home.enrolments).revoke(key, time.time())
    superlink = SuperLink.of(home, settings)
    try:
        superlink.unregister(device.public_key)
    except SuperLinkError:
        write_note("the server is not running: its SuperLink forgets the key when it starts")
    finally:
        superlink.close()
    write_line(f"{key} is revoked: nothing that it sends is accepted any more")


@server_app.command("kill-switch")
def kill_switch(
    folder: Folder,
    state: Annotated[str, typer.Argument(metavar="on|off")],
    reason: Annotated[str, typer.Option(help="One line for the devices' owners.")] = "",
) -> None:
    """Stop all training on all devices, or let it go on. Recommending never stops."""
    if state not in ("on", "off"):
        raise typer.BadParameter("say on or off", param_hint="on|off")
    write_line(commands_of(folder).kill(state == "on", reason).text)
    if state == "on":
        stop_runs(*_open(folder))


@server_app.command()
def status(folder: Folder, json: Json = False) -> None:
    """Say how the server stands: orders, devices, certificate, runs."""
    from server.door.overview import RENEW_DAYS, look  # flwr

    home, settings = _open(folder)
    found = look(home, settings, _publications(home).orders(), datetime.datetime.now(datetime.UTC))
    store = operations(home, settings)
    latest, waiting = store.runs()[:3], len(store.alarms(open_only=True))
    if json:
        write_json({**found.to_json(), "runs": [asdict(view) for view in latest], "alarms": waiting})
        return
    orders = found.orders
    write_line(f"{found.url} is {'up' if found.online is not None else 'down'}")
    switch = f"on ({orders.reason})" if orders.reason else "on"
    write_line(f"kill switch: {switch if orders.stop else 'off'}; orders {orders.sequence}")
    write_line(f"published: catalogue {orders.catalogue_version or 'none'}, model {orders.model_version or 'none'}")
    if orders.canary_version:
        write_line(f"rolling out: model {orders.canary_version} to {orders.canary_permille / 10:g} % of the devices")
    if found.certificate_days < RENEW_DAYS:
        write_line(f"the certificate is valid for {found.certificate_days} days: run 'fedrec server renew {folder}'")
    write_line(f"pace: {_pace(orders.pace)}")
    if found.devices:
        write_table("devices", ("name", "owner", "state"), [(d.key, d.owner, found.state(d)) for d in found.devices])
    write_line(f"codes that were given out: good for {found.open_places} more")
    under_way = UnderWay.read(home.under_way)
    if under_way is not None and under_way.run not in {view.run for view in latest}:
        write_line(f"run {under_way.run}: waits for its devices")
    for view in latest:
        why = f" ({view.why})" if view.why else ""
        write_line(f"run {view.run}: {view.standing}{why}, round {view.last_round or 0} of {view.planned or '?'}")
    if waiting:
        write_line(f"open alarms: {waiting}, see 'fedrec server alarms {folder}'")
    if found.online is not None:
        write_line(f"metrics: http://127.0.0.1:{settings.door_port}/metrics")


def _pace(pace: Pace | None) -> str:
    """Return when devices are asked to come, in words."""
    if pace is None:
        return "none, devices come when they can"
    if isinstance(pace, Spread):
        return f"spread, each waits up to {max(pace.hours) / 60:.0f} minutes by the hour of the day"
    return f"gathered, {pace.width / 60:.0f} minutes out of every {pace.every / 60:.0f}"


@server_app.command()
def renew(folder: Folder) -> None:
    """Make new certificates under the same authority; devices need nothing. Restart the server afterwards."""
    home, settings = _open(folder)
    renew_certificates(home, settings, datetime.datetime.now(datetime.UTC))
    write_line(f"made new certificates for {settings.host}: restart 'fedrec server up {folder}'")


server_app.command()(publish)
server_app.command()(train)
for _command in (console, runs, alarms, pause, resume, rollback, rollout, figures):
    server_app.command()(_command)
server_app.command(hidden=True)(operate)
