"""``fedrec bench churn``: a hundred rounds over a fleet of which half comes and goes, in virtual time."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from fedrec.cli.bench_pacing import with_pacing
from fedrec.cli.output import write_line, write_note, write_table
from fedrec.cli.races import AsJson, Seed, Store, hand_over
from simulations.benches.machine import Machine
from simulations.churn.soak import Found, Work, play

OF_THE_LEDGER = ("charges on the ledger", "epsilon")


def churn(
    devices: Annotated[
        int | None, typer.Option(min=20, help="Devices of one user each.  [1000; with --pacing 10000]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=4, help="Rounds to commit.")] = 100,
    stragglers: Annotated[float, typer.Option(min=0, max=0.9, help="Share of tasks slower than a round.")] = 0.3,
    sample_rate: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the users asked in a round.")] = 0.2,
    dp: Annotated[bool, typer.Option("--dp/--no-dp", help="User-level DP and its ledger.")] = True,
    pacing: Annotated[bool, typer.Option("--pacing", help="Play days of a fleet instead, with and without hints.")] = (
        False
    ),
    days: Annotated[int, typer.Option(min=4, max=60, help="With --pacing: days that are played.")] = 7,
    trace: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="With --pacing: device,start,end in seconds, CSV.")
    ] = None,
    seed: Seed = 0,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Play rounds under user-level DP while half of the devices are away and change places in every round.

    The server is the real one; devices answer with drawn updates. Minutes of this machine, a day of the fleet's. With
    --pacing no rounds are played, but when sessions begin: along a drawn trace of evenings, or one that is given.
    """
    machine = Machine.here(threads=1)
    if pacing:
        with_pacing(machine, devices=devices or 10_000, days=days, file=trace, seed=seed, store=store, as_json=as_json)
        return
    nodes = devices or 1000
    cohort = max(1, min(20, round(0.1 * sample_rate * nodes)))
    work = Work(
        nodes=nodes,
        rounds=rounds,
        stragglers=stragglers,
        sample_rate=sample_rate,
        minimum_cohort=cohort,
        seed=seed,
        private=dp,
    )
    with TemporaryDirectory() as folder:
        found = play(work, Path(folder), _note)
    if hand_over({"work": asdict(work), **record_of(found)}, machine, store=store, as_json=as_json):
        return
    rows = [row for row in _rows(found) if dp or row[0] not in OF_THE_LEDGER]
    write_table(f"{nodes} devices, {rounds} rounds", ("what", "found", "asked"), rows)
    write_line("off devices are asked too and lost; slope: least squares over the second half of the rounds")
    write_line(str(machine))


def record_of(found: Found) -> dict[str, object]:
    """Return what was found as JSON's values; ``asdict`` would count the pairs of a counter."""
    derived = {"committed_share": found.committed_share, "rss_slope": found.rss_slope}
    return {**vars(found), "events": {str(what): number for what, number in found.events.items()}, **derived}


def _note(number: int) -> None:
    if number % 10 == 0:
        write_note(f"round {number}")


def _rows(found: Found) -> list[tuple[str, str, str]]:
    rounds = found.committed + found.abandoned
    epsilon = f"{found.epsilon:.4f} on the ledger, {found.recomputed:.4f} recomputed"
    return [
        ("rounds committed", f"{found.committed} of {rounds}, {found.committed_share:.1%}", ">= 95 %"),
        ("usable replies of those asked", f"{found.usable} of {found.asked}", ""),
        ("charges on the ledger", str(found.charges), str(found.committed)),
        ("epsilon", epsilon, "equal"),
        ("memory of the process", f"{found.rss_mib[-1]:.0f} MiB, {found.rss_slope:+.3f} a round", "slope 0"),
        ("virtual time", f"{found.hours:.1f} h", ""),
    ]
