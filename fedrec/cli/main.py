"""The ``fedrec`` command: its sub-commands, its exit codes and the one line that an error gets.

A sub-command's module is imported when it is asked for, so that ``fedrec --help`` does not wait for torch and a
command may import what it needs at its top. Knows nothing of what the sub-commands do.

Exit codes: 0 done; 1 an audit found a violation, or a doctor a fault; 2 bad input or refused; 70 internal error;
130 interrupted.
"""

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from fedrec import __version__
from fedrec.app_directory import enter_app_directory
from fedrec.cli.completion import prepare_completion
from fedrec.cli.outline import outlined
from fedrec.errors import FedRecError
from fedrec.quiet import quiet_flower

DEFECT = 70
"""An internal error: ``EX_SOFTWARE`` of sysexits.h, so that 1 can mean one thing."""
INTERRUPTED = 130


class LazyCommand(click.Command):
    """A sub-command that is known by name and summary, and imported when it is asked for."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.target = target

    def load(self) -> click.Command:
        """Import ``module:attribute``, a typer app or a function, and return it as a command of this name."""
        enter_app_directory()
        module, attribute = self.target.split(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            found, function = typer.Typer(add_completion=False), found
            found.command(name=self.name)(function)
        command = typer.main.get_command(found)
        command.name = self.name
        return command


COMMANDS = (
    LazyCommand("demo", "fedrec.cli.demo:demo", "Train on MovieLens-100K under user-level DP, end to end."),
    LazyCommand(
        "simulate", "fedrec.cli.simulate:simulate_app", "Run a scenario: one server, many clients, one machine."
    ),
    LazyCommand("sweep", "fedrec.cli.sweep:sweep", "Search settings on validation events, its privacy cost told."),
    LazyCommand("compare", "fedrec.cli.compare:compare", "Set runs side by side, with paired intervals."),
    LazyCommand("dashboard", "fedrec.cli.dashboard:dashboard", "Show runs on a page, live and afterwards."),
    LazyCommand("recommend", "fedrec.cli.recommend:recommend", "Recommend to a user never seen before, from raw ids."),
    LazyCommand("data", "fedrec.cli.data:data_app", "Get, inspect and audit interaction data."),
    LazyCommand("privacy", "fedrec.cli.privacy:privacy_app", "Plan a budget, report and add up what was spent."),
    LazyCommand("audit", "fedrec.cli.audit:audit_app", "Try to refute a privacy claim: recompute, measure, attack."),
    LazyCommand("device", "fedrec.cli.device:device_app", "Run a device: recommend locally, train when it may."),
    LazyCommand("deploy-demo", "fedrec.cli.deploy_demo:deploy_demo", "Deploy on this machine, end to end: one round."),
    LazyCommand("bundle", "fedrec.cli.bundle:bundle", "Gather what devices without a network install."),
    LazyCommand("server", "fedrec.cli.server:server_app", "Run a federation's server: enrol devices, train, publish."),
    LazyCommand("doctor", "fedrec.cli.doctor:doctor", "Say what this installation and machine lack, and the remedy."),
    LazyCommand("bench", "fedrec.cli.bench:bench_app", "Measure what the documents claim."),
)


class RootGroup(TyperGroup):
    """The root command, which lists its sub-commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update({str(command.name): command for command in COMMANDS})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command and import it, or its outline where a shell only wants to complete it."""
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, LazyCommand):
            command = outlined(str(command.name)) if ctx.resilient_parsing else command.load()
        return name, command, rest


@dataclass
class Session:
    """What the root options say of one invocation."""

    debug: bool = False


app = typer.Typer(
    cls=RootGroup,
    suggest_commands=False,  # click suggests by itself
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fedrec {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Federated, privacy-preserving recommendation: simulate, recommend, account, audit."""
    ctx.obj.debug = debug
    _log_to_stderr(logging.DEBUG if debug else logging.WARNING)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _log_to_stderr(level: int) -> None:
    """Show records of at least ``level``, whatever levels other loggers have been given: flwr sets its own to DEBUG."""
    handler = logging.StreamHandler()
    handler.setLevel(level)
    logging.basicConfig(level=level, handlers=[handler], format="%(levelname)s %(name)s: %(message)s")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors become one line on stderr."""
    quiet_flower()
    session = Session()
    try:
        command = typer.main.get_command(app)
        prepare_completion()
        code = command.main(list(arguments), "fedrec", standalone_mode=False, obj=session)
        # typer turns KeyboardInterrupt into this code
        return _fail("interrupted", code, session) if code == INTERRUPTED else code or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "fedrec"
        return _fail(f"{error.format_message().rstrip('.')}; see '{where} --help'", error.exit_code, session)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code, session)
    except FedRecError as error:
        return _fail(str(error), error.exit_code, session)
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
        return _fail(f"{error.filename}: {error.strerror}; choose another path", FedRecError.exit_code, session)
    except click.Abort:
        return _fail("interrupted", INTERRUPTED, session)
    except Exception as error:  # the rim of the program: whatever else went wrong is a defect, and must say so
        hint = "this is a defect of fedrec; 'fedrec --debug ...' shows where"
        return _fail(f"{type(error).__name__}: {error}; {hint}", DEFECT, session)


def _fail(message: str, code: int, session: Session) -> int:
    if session.debug:
        traceback.print_exc()
    sys.stdout.flush()
    print("error:", " ".join(message.split()), file=sys.stderr)
    return code


def main() -> None:
    """Run the process's command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))
