"""``fedrec server runs``, ``pause``, ``resume``, ``rollback``, ``rollout``: what an operator sees and commands."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from fedrec.cli.output import write_json, write_line, write_note, write_table
from fedrec.cli.server_folder import Folder, Json, open_server, publications

if TYPE_CHECKING:
    from server.operations.commands import Commands, Done

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, as 'fedrec server runs' lists it.")]
Why = Annotated[str, typer.Option("--why", help="One line: who reads the events sees it.")]


def runs(folder: Folder, json: Json = False) -> None:
    """List the runs of the server: rounds, budget, alarms."""
    from dataclasses import asdict  # only this command prints views

    from server.operations.store import OperationsStore  # SQLAlchemy

    home, settings = open_server(folder)
    store = OperationsStore.of(home, settings)
    for found in sorted(home.runs.glob("*/config.toml")):
        store.ingest(found.parent)
    views = store.runs()
    if json:
        write_json([asdict(view) for view in views])
        return
    alarms = store.alarms(open_only=True)
    rows = []
    for view in views:
        spent = store.budget(view.run).spent
        abandoned = sum(round_.standing == "abandoned" for round_ in store.rounds(view.run))
        rows.append(
            (
                view.run,
                f"{view.standing}: {view.why}" if view.why else view.standing,
                f"{view.last_round or 0}/{view.planned}" if view.planned else str(view.last_round or 0),
                str(abandoned),
                f"{spent[-1][1]:.2f}" if spent else "-",
                str(sum(alarm.run == view.run for alarm in alarms)),
            )
        )
    write_table("runs", ("name", "standing", "rounds", "abandoned", "epsilon", "alarms"), rows)
    for alarm in alarms[:10]:
        write_line(f"alarm {alarm.id}, {alarm.kind}{f' of {alarm.run}' if alarm.run else ''}: {alarm.text}")


def pause(folder: Folder, run: Run, why: Why = "") -> None:
    """Let no further round of a run open; the open one is finished. 'resume' lets it go on."""
    _say(_commands(folder).pause(run, why))


def resume(folder: Folder, run: Run) -> None:
    """Let a paused run go on."""
    _say(_commands(folder).resume(run))


def operate(folder: Folder) -> None:
    """Look after runs until SIGTERM: 'fedrec server up' starts this."""
    import fcntl  # only this command holds the watch

    from server.operations.logs import log_as_json  # only what runs for long logs
    from server.operations.operator import TICK_SECONDS, make_operator  # flwr
    from server.operations.submitting import WATCH_LOCK  # the same

    home, settings = open_server(folder)
    with (home.run / WATCH_LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        log_as_json()
        operator = make_operator(home, settings)
        while True:
            operator.tick()
            time.sleep(TICK_SECONDS)


def _commands(folder: Folder) -> "Commands":
    from server.operations.commands import Commands  # SQLAlchemy
    from server.operations.database import OperationsError  # the same
    from server.operations.store import OperationsStore  # the same

    home, settings = open_server(folder)
    try:
        store = OperationsStore.of(home, settings)
    except OperationsError as error:
        write_note(f"{error}: the command is carried out and not written down")
        store = None
    return Commands(home=home, publications=publications(home), store=store)


def _say(done: "Done") -> None:
    write_line(done.text)
