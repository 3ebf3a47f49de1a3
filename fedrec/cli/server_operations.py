"""``fedrec server runs | alarms | pause | resume | rollback | rollout | figures``: an operator's eyes and hands."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedrec.aggregation.alarms import described
from fedrec.cli.output import write_json, write_line, write_note, write_table
from fedrec.cli.server_folder import Folder, Json, open_server, operations, publications

if TYPE_CHECKING:
    from server.operations.commands import Commands, Done
    from server.operations.views import AlarmView

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, as 'fedrec server runs' lists it.")]
Why = Annotated[str, typer.Option("--reason", help="One line for whoever reads the run's events.")]


def runs(folder: Folder, json: Json = False) -> None:
    """List the runs of the server: rounds, budget, alarms."""
    from dataclasses import asdict  # only this command prints views

    store = operations(*open_server(folder))
    views = store.runs()
    if json:
        write_json([asdict(view) for view in views])
        return
    waiting = store.alarms(open_only=True)
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
                str(sum(alarm.run == view.run for alarm in waiting)),
            )
        )
    write_table("runs", ("name", "standing", "rounds", "abandoned", "epsilon", "alarms"), rows)
    _write_alarms(folder, waiting[:10])


def alarms(
    folder: Folder,
    acknowledge: Annotated[
        int | None, typer.Option("--acknowledge", metavar="N", help="Put down that you have seen to alarm N.")
    ] = None,
    json: Json = False,
) -> None:
    """List the alarms that nobody has seen to, or put down that you have seen to one."""
    from dataclasses import asdict  # only this command prints views

    store = operations(*open_server(folder))
    if acknowledge is not None:
        _say(commands_of(folder).acknowledge(acknowledge))
        return
    waiting = store.alarms(open_only=True)
    if json:
        write_json([asdict(alarm) for alarm in waiting])
        return
    _write_alarms(folder, waiting)
    if not waiting:
        write_line("no alarm is open")


def _write_alarms(folder: Path, waiting: "Sequence[AlarmView]") -> None:
    for alarm in waiting:
        of = f" of {alarm.run}, round {alarm.round}" if alarm.run else ""
        write_line(f"alarm {alarm.id}{of}: {described(vars(alarm))}")
    if waiting:
        write_note(f"seen to: fedrec server alarms {folder} --acknowledge N")


def pause(folder: Folder, run: Run, why: Why = "") -> None:
    """Let no further round of a run open; the open one is finished. 'resume' lets it go on."""
    _say(commands_of(folder).pause(run, why))


def resume(folder: Folder, run: Run) -> None:
    """Let a paused run go on."""
    _say(commands_of(folder).resume(run))


def rollback(
    folder: Folder,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's name; without it, the served model.")] = "",
    to: Annotated[int | None, typer.Option("--to", help="The round, or the model's version, to go back to.")] = None,
    why: Why = "",
) -> None:
    """Take a run back to an earlier round, or the served model back to an earlier version.

    A run that is training is stopped first and goes on from there. What it has released stays paid for, and what it
    releases again is paid for again. A model comes as a new version, as devices take no older number.
    """
    commands = commands_of(folder)
    if not run:
        _say(commands.rollback_model(to, why))
        return
    if to is None:
        raise typer.BadParameter("say which round: --to N", param_hint="--to")
    from server.operations.stopping import while_stopped  # flwr

    home, settings = open_server(folder)
    with while_stopped(home, settings, publications(home), run) as again:
        _say(commands.rollback(run, to))
    if again.flower_run:
        write_line(f"{run} trains on as run {again.flower_run}")
    else:
        write_line(f"to train on: fedrec server train {folder} {home.runs / run}")


def rollout(
    folder: Folder,
    percent: Annotated[float | None, typer.Argument(metavar="[PERCENT]", help="Of the devices; 100 ends it.")] = None,
    json: Json = False,
) -> None:
    """Say how the roll-out of a model stands, or let more devices have it. 'publish --canary' begins one."""
    from dataclasses import asdict  # only this command prints views

    home, settings = open_server(folder)
    if percent is not None:
        _say(commands_of(folder).rollout(round(percent * 10)))
        return
    from server.operations.rollout import Rollouts  # SQLAlchemy
    from server.operations.store import OperationsStore  # the same

    rollouts = Rollouts(publications=publications(home), store=OperationsStore.of(home, settings), clock=time.time)
    rollouts.current()
    views = rollouts.all()
    if json:
        write_json([asdict(view) for view in views])
        return
    for view in views[:5]:
        why = f": {view.why}" if view.why else ""
        write_line(f"model {view.version}, {view.permille / 10:g} % beside {view.base}, {view.standing}{why}")
    if not views:
        write_line("no model has been rolled out by shares: 'fedrec server publish --canary' begins with 1 %")


def figures(
    folder: Folder,
    version: Annotated[int, typer.Option("--model", help="The version that these devices had.")],
    devices: Annotated[int, typer.Option(help="How many devices the means are of, 20 at least.")],
    latency_ms: Annotated[float | None, typer.Option(help="Mean milliseconds of a list.")] = None,
    quality: Annotated[float | None, typer.Option(help="Mean quality as released, the same measure each time.")] = None,
) -> None:
    """Put down how devices fare with a version of the model: a roll-out that is worse is taken back by itself."""
    from server.operations.rollout import Figures, Rollouts  # SQLAlchemy
    from server.operations.store import OperationsStore  # the same

    home, settings = open_server(folder)
    found = Figures(version=version, devices=devices, latency_ms=latency_ms, quality=quality)
    store = OperationsStore.of(home, settings)
    Rollouts(publications=publications(home), store=store, clock=time.time).record(found)
    write_line(f"noted for model {version}: the server compares it within seconds while it is up")


def operate(folder: Folder) -> None:
    """Look after runs until SIGTERM: 'fedrec server up' starts this."""
    from server.operations.logs import log_as_json  # only what runs for long logs
    from server.operations.operator import TICK_SECONDS, make_operator  # flwr

    home, settings = open_server(folder)
    log_as_json()
    operator = make_operator(home, settings)
    while True:
        operator.tick()
        time.sleep(TICK_SECONDS)


def commands_of(folder: Folder) -> "Commands":
    """Return what carries the operator's wishes out in a server's folder."""
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
