"""``fedrec server train`` and ``publish``: a run on the enrolled devices, and what devices get of it.

Whatever imports torch or flwr is imported inside the command that needs it: enrolling a device does not wait for it.
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedrec.cli.output import RoundBar, write_line, write_note
from fedrec.cli.server_folder import Folder, open_server, publications
from fedrec.errors import ConfigError
from server.door.home import ServerHome, ServerSettings

CANARY_PERMILLE = 10
"""Of a thousand devices, which have a model first."""

if TYPE_CHECKING:
    from fedrec.runs.folder import RunFolder


def publish(
    folder: Folder,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a catalogue's.")],
    canary: Annotated[
        bool, typer.Option("--canary", help="The model to 1 % of the devices first; 'rollout' lets more have it.")
    ] = False,
) -> None:
    """Sign and publish a run's catalogue, where it is a new one, and its model, where a round has ended."""
    from fedrec.signing.orders import PERMILLE  # with cryptography
    from server.door.releasing import release  # torch

    home, _ = open_server(folder)
    done = release(publications(home), run, permille=CANARY_PERMILLE if canary else PERMILLE)
    for manifest in (done.catalogue, done.model):
        if manifest is not None:
            size = f"{manifest.size / 1e6:.1f} MB in {len(manifest.files)} files"
            write_line(f"published {manifest.subject} version {manifest.version}: {size}")
    if done.catalogue is None and done.model is None:
        write_line("nothing new: this catalogue is published, and the run has no round yet")


def train(
    folder: Folder,
    what: Annotated[str, typer.Argument(metavar="SCENARIO|RUN", help="A scenario, or a run's folder to go on with.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="A recipe for a budget: epsilon-1, -2, -4 or -8.")
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="The catalogue's folder; without it, the published one.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the run has ended.")] = True,
) -> None:
    """Train on the enrolled devices: submit the installed code as an app, and wait.

    A run that broke off goes on from its last checkpoint by itself while the server is up; else pass its folder.
    ``federation.nodes`` is how many devices must be there before it begins.
    """
    from server.door.flower import SuperLink  # flwr
    from server.operations.submitting import follow_to_the_end, submit_under_watch  # flwr

    home, settings = open_server(folder)
    run = _run_folder(home, what, overrides or [], preset, catalogue)
    superlink = SuperLink.of(home, settings)
    try:
        run_id = submit_under_watch(home, superlink, publications(home), run)
        write_line(f"run {run_id} trains {run.path}")
        sys.stdout.flush()  # whoever waits for this line reads a pipe
        if wait:
            with RoundBar() as bar:
                bar.phase("training", run.scenario().training.rounds)
                follow_to_the_end(home, superlink, run_id, beat=lambda: _show(bar, run), note=write_note)
            rounds = "1 round" if (done := len(run.metrics())) == 1 else f"{done} rounds"
            write_line(f"done: {rounds}; next: fedrec server publish {folder} {run.path}")
    finally:
        superlink.close()


def stop_runs(home: ServerHome, settings: ServerSettings) -> None:
    """Stop every run that has not ended, and say how many."""
    from server.door.flower import SuperLink, SuperLinkError  # flwr
    from server.door.training import stop_all  # flwr
    from server.operations.under_way import forget

    superlink = SuperLink.of(home, settings)
    try:
        stopped = stop_all(superlink)
        forget(home.under_way)
    except SuperLinkError:
        write_note("the server is not running: devices see the kill switch when it is")
    else:
        if stopped:
            write_line(f"{stopped} run{'s' if stopped > 1 else ''} stopped: what devices still send for it is refused")
    finally:
        superlink.close()


def _run_folder(
    home: ServerHome, what: str, overrides: list[str], preset: str | None, catalogue: Path | None
) -> "RunFolder":
    from fedrec.config.named import read_scenario  # pydantic models of every setting
    from fedrec.runs.folder import RunFolder, fresh_run_folder  # the same
    from server.door.training import new_run, published_catalogue  # flwr

    if (Path(what) / "config.toml").is_file():
        if overrides or preset or catalogue:
            raise ConfigError(f"{what} is a run and keeps its settings: leave --set, --preset and --catalogue out")
        return RunFolder.open(Path(what))
    scenario = read_scenario(what, overrides, preset)
    path = home.path / fresh_run_folder(scenario.run.name)
    if catalogue is not None:
        return new_run(path, scenario, catalogue)
    with tempfile.TemporaryDirectory(prefix="fedrec-catalogue-") as name:
        return new_run(path, scenario, published_catalogue(home, publications(home), Path(name) / "catalogue"))


def _show(bar: RoundBar, run: "RunFolder") -> None:
    rows = run.metrics()
    if rows:
        bar.round(rows[-1])
