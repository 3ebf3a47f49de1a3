"""``fedrec bench churn --pacing``: how far the server's hints flatten the hours at which devices come."""

from dataclasses import asdict
from pathlib import Path

from fedrec.cli.output import write_line, write_table
from fedrec.cli.races import hand_over
from simulations.benches.machine import Machine
from simulations.churn.pacing import LONGEST_WAIT, SETTLED, Paced, play
from simulations.churn.traces import diurnal_trace, read_trace

ASKED = 3.0
"""Times the mean that the peak of a day is held to."""


def with_pacing(
    machine: Machine, *, devices: int, days: int, file: Path | None, seed: int, store: Path | None, as_json: bool
) -> None:
    """Play a trace with and without hints, and write what came of it."""
    trace = read_trace(file) if file else diurnal_trace(devices, days, seed)
    unpaced, paced = play(trace, seed, paced=False), play(trace, seed, paced=True)
    work = {"devices": trace.num_devices, "stretches": len(trace), "trace": file.name if file else "drawn"}
    outcome = {name: {**asdict(one), "worst": one.worst} for name, one in (("unpaced", unpaced), ("paced", paced))}
    record = {"work": {**work, "seed": seed}, "asked": ASKED, **outcome}
    if hand_over(record, machine, store=store, as_json=as_json):
        return
    heads = ("day", "without", "with", "longest hint", "mean wait", "came", "missed")
    write_table(f"{trace.num_devices} devices: peak of ten minutes over the day's mean", heads, _rows(unpaced, paced))
    worst = f"from day {SETTLED} on the highest peak is {paced.worst:.2f}, without hints {unpaced.worst:.1f}"
    write_line(f"{worst}; asked {ASKED:g}. Day 0 has no hint yet, day 1 the evening before it still to bear.")
    write_line(f"missed: was away again before its moment came; devices wait {LONGEST_WAIT / 3600:g} h at most")
    write_line(str(machine))


def _rows(unpaced: Paced, paced: Paced) -> list[tuple[str, ...]]:
    return [
        (
            str(one.number),
            f"{without.peak:.1f}",
            f"{one.peak:.2f}",
            f"{one.widest / 3600:.2g} h" if one.widest else "-",
            f"{one.waited / 60:.0f} min",
            str(one.checkins),
            str(one.missed),
        )
        for without, one in zip(unpaced.days, paced.days, strict=True)
    ]
