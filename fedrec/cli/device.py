"""``fedrec device``: one device's program, from its folder's making to its export. Free of torch at import."""

from collections.abc import Callable

import typer

from fedrec.cli.device_local import COMMANDS
from fedrec.cli.device_setup import doctor, init, run

device_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run a device: recommend locally, train when it may, show and take back what it holds.",
)
_made: dict[str, Callable[..., None]] = {"init": init, "run": run, "doctor": doctor}
for _name, _command in (*_made.items(), *COMMANDS.items()):
    device_app.command(_name)(_command)
