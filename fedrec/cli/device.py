"""``fedrec device``: one device's program, from its folder's making to its export. Free of torch at import."""

import typer

from fedrec.cli.device_setup import doctor, init, run

device_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run a device: recommend locally, train when it may, show and take back what it holds.",
)
for command in (init, run, doctor):
    device_app.command()(command)
