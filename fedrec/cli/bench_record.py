"""``fedrec bench all`` and ``fedrec bench pages``: the record of all benches, and the documents that quote it."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.listed import names
from fedrec.cli.output import write_line, write_note
from fedrec.errors import ConfigError
from fedrec.runs.atomic import write_atomically
from simulations.benches.machine import Machine
from simulations.benches.measurement import SUFFIX, Measurement
from simulations.benches.plan import BENCHES, LONG, Bench
from simulations.documents import BENCHES as FOLDER
from simulations.documents import documents

MEASURED = Path("docs/measured")
Stored = Annotated[Path, typer.Option("--store", metavar="DIR", help="Where what was measured is kept.")]
COMMON = ",".join(one.name for one in BENCHES)
KNOWN = {bench.name: bench for bench in (*BENCHES, *LONG)}


def run_all(
    benches: Annotated[str, typer.Option(metavar="NAME,...", help=f"Which of {', '.join(KNOWN)}.")] = COMMON,
    store: Stored = MEASURED,
) -> None:
    """Run the benches behind the page on performance, each in a process of its own, and keep what each found.

    About 25 minutes on two idle cores. One that fails is kept with its reason, which its section then gives, and the
    others run.
    """
    unknown = sorted({*names(benches)} - {*KNOWN})
    if unknown:
        raise ConfigError(f"there is no bench {unknown[0]!r} of the record: take {', '.join(KNOWN)}")
    failed = [name for name in names(benches) if not _run(KNOWN[name], store / FOLDER / f"{name}{SUFFIX}")]
    write_line(f"benches kept: {len(names(benches)) - len(failed)}, in {store / FOLDER}")
    if failed:
        write_line(f"failed, with their reasons kept: {', '.join(failed)}")


def pages(
    store: Stored = MEASURED,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the pages go.")] = Path("docs"),
) -> None:
    """Write the pages on performance, privacy's figures, quality and robustness from what is kept; measures nothing."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in documents(store).items():
        write_atomically(out / name, text.encode())
        write_line(f"{out / name}")


def _run(bench: Bench, path: Path) -> bool:
    """Run one bench; keep the reason where it fails."""
    write_note(f"{bench.name}: fedrec bench {bench.words}, about {bench.minutes:g} min")
    machine, start = Machine.here(threads=1), time.monotonic()
    command = [sys.executable, "-m", "fedrec.cli", "bench", *shlex.split(bench.words), "--store", str(path)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    write_note(f"{bench.name}: {time.monotonic() - start:.0f} s")
    if done.returncode == 0:
        return True
    reason = _without_paths((done.stderr.strip().splitlines() or ["no message"])[-1])
    write_note(f"{bench.name} failed: {reason}")
    Measurement.ending_now(f"fedrec bench {bench.words}", machine, failed=reason).write(path)
    return False


def _without_paths(reason: str) -> str:
    """Return an error's line without the places of this machine that it names."""
    return re.sub(r"(?<![\w.])/[^\s:;,)']+", lambda found: f".../{Path(found[0]).name}", reason.removeprefix("error: "))
