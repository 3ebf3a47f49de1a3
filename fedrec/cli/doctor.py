"""``fedrec doctor``: what this installation and this machine lack."""

from typing import Annotated

import typer

from fedrec.cli.findings import tell
from fedrec.doctor.examine import examine
from server.door.home import ServerSettings
from server.door.nginx import find_nginx


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say in plain words what is wrong with this installation or machine and what to do; leave with 1 if something is.

    A note is no fault: something that only some commands need is not there. No network is asked, nothing is changed.
    """
    usual = ServerSettings(host="localhost")
    ports = {"--port": usual.port, "--superlink-port": usual.superlink_port, "--door-port": usual.door_port}
    tell(examine(server_ports=ports, nginx=find_nginx()), as_json=as_json)
