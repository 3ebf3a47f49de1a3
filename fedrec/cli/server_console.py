"""``fedrec server console``: the operator's page."""

from typing import TYPE_CHECKING, Annotated

import typer

from fedrec.cli.output import write_line
from fedrec.cli.server_folder import Folder, open_server, publications
from fedrec.errors import ConfigError

if TYPE_CHECKING:
    from server.console.service import Deeds


def console(
    folder: Folder, port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port; 0: a free one.")] = 0
) -> None:
    """Show what goes on on a page on this machine, with buttons to pause, stop and take back. Login by token."""
    from fedrec.pages.loopback import listen, serve  # FastAPI
    from server.console.access import Access, token_of
    from server.console.service import make_console  # FastAPI
    from server.operations.store import OperationsStore  # SQLAlchemy

    home, settings = open_server(folder)
    path = home.path / "console.token"
    access = Access(token_of(path))
    listening = listen(port)
    bound = listening.getsockname()[1]
    app = make_console(lambda: OperationsStore.of(home, settings), _deeds(folder), access, port=bound)
    write_line(f"open http://127.0.0.1:{bound}/ in a browser on this machine; the token is in {path}")
    serve(app, listening)


def _deeds(folder: Folder) -> "Deeds":
    from fedrec.cli.server_operations import commands_of  # as the commands of the same name
    from fedrec.cli.server_runs import stop_runs  # flwr
    from server.console.service import Deeds
    from server.operations.rolling_back import rounds_on_disk  # torch
    from server.operations.stopping import while_stopped  # flwr

    home, settings = open_server(folder)
    known = publications(home)

    def act(what: str, run: str, detail: str) -> str:
        commands = commands_of(folder)
        if what == "pause":
            return commands.pause(run, "from the console").text
        if what == "resume":
            return commands.resume(run).text
        if what == "acknowledge" and detail.isdecimal() and len(detail) < 10:
            return commands.acknowledge(int(detail)).text
        if what in ("kill", "unkill"):
            told = commands.kill(what == "kill", "from the console").text
            if what == "kill":
                stop_runs(home, settings)
            return told
        if what == "rollback-model":
            return commands.rollback_model(None, "from the console").text
        if what == "rollback" and detail.isdecimal():
            with while_stopped(home, settings, known, run):
                return commands.rollback(run, int(detail)).text
        raise ConfigError("the console knows no such command: go back and try again")

    def back_to(run: str) -> list[int]:
        return rounds_on_disk(home.runs / run)[:-1] if run and "/" not in run else []

    return Deeds(act=act, stopped=lambda: known.orders().stop, back_to=back_to)
