"""``fedrec bench explanations``: whether the events that explanations name matter to what they explain."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from fedrec.cli.output import with_interval, write_line, write_table
from fedrec.cli.races import AsJson, Seed, Store, hand_over
from fedrec.cli.recommend import load_trained
from fedrec.data.load import load_dataset
from fedrec.errors import DataError
from fedrec.runs.folder import RunFolder
from simulations.benches.explanations import ExplanationBench, NamingRow, bench_explanations
from simulations.benches.machine import Machine

NAMES = {"influence": "it hangs on them", "nearest": "most like it", "random": "at random"}


def explanations(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    users: Annotated[int, typer.Option("--users", min=2, help="Users, drawn by lot.")] = 200,
    events: Annotated[int, typer.Option("--events", min=1, help="Events taken out of each history.")] = 3,
    seed: Seed = 0,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Take events that explanations name out of users' histories and see whether the first recommendation falls.

    Minutes. Users of the run's data are folded in from their training events, before and after.
    """
    folder = RunFolder.open(run)
    trained, scenario = load_trained(folder), folder.scenario()
    dataset = load_dataset(scenario.data, scenario.run.seed)
    if dataset.catalogue.digest != trained.catalogue.digest:
        raise DataError(f"{scenario.data.source} is not what {run} was trained on: get that data again")
    machine = Machine.here(torch.get_num_threads())
    found = bench_explanations(
        trained.model,
        trained.shared,
        dataset.splits.final.train,
        local=trained.local,
        num_users=users,
        num_events=events,
        seed=seed,
    )
    if not hand_over(asdict(found), machine, store=store, as_json=as_json):
        _write(found)
        write_line(str(machine))


def _write(found: ExplanationBench) -> None:
    columns = ("taken out", "lost", "more than random", "users", "places", "first")
    title = f"first recommendation of {found.num_users} users without {found.num_events} events of their histories"
    write_table(title, columns, map(_row, found.rows))
    write_line("lost: score, in standard deviations of the user's scores, and with its 95 % interval what that is more")
    write_line("than with random events; users: with more lost than that; places: lost; first: share that stayed first")


def _row(row: NamingRow) -> list[str]:
    by_lot, over = row.naming == "random", row.over_random
    return [
        NAMES[row.naming],
        f"{row.score_lost.mean:.3f}",
        "" if by_lot else with_interval(over.mean, (over.low, over.high)),
        "" if by_lot else f"{row.beats_random:.0%}",
        f"{row.ranks_lost:.1f}",
        f"{row.kept_first:.0%}",
    ]
