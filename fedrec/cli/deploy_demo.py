"""``fedrec deploy-demo``: a server, three devices and one round over TLS on this machine, by one command."""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from fedrec.cli.output import write_line, write_note, write_table
from fedrec.config.named import read_scenario
from fedrec.data.fetch import get_dataset
from fedrec.data.load import Dataset, load_dataset
from fedrec.errors import ConfigError, DataError
from simulations.deploy_demo import DEVICES, SCENARIO, Shown, deploy, is_demo, spent, start_again
from simulations.deployment import HOST, Deployment


def deploy_demo(
    data: Annotated[str, typer.Option(help="ml-100k, or synthetic, which needs no download.")] = "ml-100k",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Keep everything in this folder, of a short path; a demo that it holds is started again.",
        ),
    ] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Leave it running until Ctrl-C, and say what to type.")] = False,
) -> None:
    """Deploy on this machine: SuperLink, nginx, three devices with SuperNodes; one round, one answer; then clean up.

    With --folder DIR --stay it goes on; the same command starts it again later, with devices that were added in DIR.
    Needs nginx (Debian: apt install nginx-light). Nothing is reachable from outside this machine.
    """
    say = _timed()
    with _ended_in_order(), _place(folder, stay=stay) as place:
        again = is_demo(place)
        shown = None if again else deploy(place, _dataset(data, say), say)
        deployment = start_again(place, say) if shown is None else shown.deployment
        try:
            if shown is not None:
                _write(shown)
            if stay:
                _stay(deployment, folder or place)
        finally:
            left = deployment.end()
        if left:
            raise DataError(f"{len(left)} processes outlived the demo and were killed: this is a defect of fedrec")
        say("ended: no process is left" + ("" if folder else ", no file either"))
        if folder and not again:
            say(f"to go on with it: fedrec deploy-demo --folder {folder} --stay")


def _dataset(name: str, say: Callable[[str], None]) -> Dataset:
    if name not in {"ml-100k", "synthetic"}:
        raise ConfigError(f"--data must be ml-100k or synthetic, got {name!r}")
    if name == "ml-100k":
        try:
            get_dataset(name, report=say)
        except DataError as error:
            say(f"{error}; going on with made-up films")
            name = "synthetic"
    scenario = read_scenario("tiny" if name == "synthetic" else name, [])
    return load_dataset(scenario.data, scenario.run.seed)


def _write(shown: Shown) -> None:
    """Say what was shown: the list, its reasons, and what the round has cost whom."""
    rows = [[f"{rank}. {pick.title}", pick.item] for rank, pick in enumerate(shown.reply.recommendations, 1)]
    write_table(f"{DEVICES[0]} recommends, from the model of this round", ["title", "item"], rows)
    for pick in shown.reply.recommendations[:1]:
        write_line(f"why {pick.title}: {'; '.join(reason.text for reason in pick.reasons)}")
    write_line("One noisy round of three people recommends no better than chance: 'make demo' shows what many reach.")
    for name in DEVICES:
        write_line(f"{name}'s own ledger: {spent(shown.deployment, name).summary}")
    write_line(f"{shown.rounds} round, {len(DEVICES)} devices, {shown.seconds:.0f} s from nothing to the answer")


def _stay(deployment: Deployment, folder: Path) -> None:
    """Say what may be typed, and wait for Ctrl-C."""
    given = f"--authority {folder}/server/ca/ca.crt --signer {folder}/server/signer.pub --code-file code.txt"
    joining = f"{folder}/porch --key porch --server {HOST}:{deployment.port} {given} --policy {folder}/policy.toml"
    lines = (
        "in another terminal:",
        f"  fedrec server status {folder}/server",
        f"  fedrec device doctor {folder}/{DEVICES[0]}",
        f"  fedrec device recommend {folder}/{DEVICES[0]} --explain",
        f"  fedrec server train {folder}/server {folder}/{SCENARIO}",
        "a fourth device:",
        f"  fedrec server enroll {folder}/server --owner me > code.txt",
        f"  fedrec device init {joining} --consent --whenever",
        f"  fedrec device run {folder}/porch",
        "Ctrl-C ends all of it",
    )
    write_note("\n".join(lines))
    try:
        signal.pause()
    except KeyboardInterrupt:
        write_note("")


def _timed() -> Callable[[str], None]:
    """Return how to say where the demo is: the seconds since its start, and a line."""
    started = time.monotonic()
    return lambda line: write_note(f"{time.monotonic() - started:5.0f} s  {line}")


@contextmanager
def _place(folder: Path | None, *, stay: bool) -> Iterator[Path]:
    if folder is None:
        place = Path(tempfile.mkdtemp(prefix="fedrec-demo-"))  # short: the sockets of devices lie below it
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return
    if is_demo(folder):
        if not stay:
            raise ConfigError(f"{folder} holds a demo: add --stay to start it again, or name another folder")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty: name another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    yield folder.absolute()


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does: with everything that it has started."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
