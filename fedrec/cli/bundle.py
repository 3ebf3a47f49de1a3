"""``fedrec bundle``: gather, on a machine with a network, what devices without one install."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from clients.edge.wheelhouse import TARGETS, Profile, Sources, gather
from fedrec.app_directory import app_directory
from fedrec.cli.output import write_line, write_note
from fedrec.errors import ConfigError, DataError


def bundle(
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder; new or empty.")],
    machine: Annotated[str, typer.Option(help=f"What the devices are: {', '.join(TARGETS)}.")] = "aarch64",
    profile: Annotated[
        str, typer.Option(help="full, or recommend: without PyTorch, for 512 MB of memory; such a device never trains.")
    ] = "full",
    python: Annotated[str, typer.Option(help="Python on the devices, as 3.11; by default this one.")] = "",
    wheel: Annotated[
        Path | None, typer.Option(help="fedrec's wheel; in a checkout it is built if none is named.")
    ] = None,
    index: Annotated[list[str] | None, typer.Option(help="A further package index; repeatable.")] = None,
    folder: Annotated[list[str] | None, typer.Option(help="A folder with wheels; repeatable.")] = None,
) -> None:
    """Gather wheels, hashes, units, bill of materials and installer into one folder for devices without a network."""
    if machine not in TARGETS:
        raise ConfigError(f"--machine must be one of {', '.join(TARGETS)}, got {machine!r}")
    kinds: dict[str, Profile] = {"full": "full", "recommend": "recommend"}
    if profile not in kinds:
        raise ConfigError(f"--profile must be one of {', '.join(kinds)}, got {profile!r}")
    sources = Sources(indexes=tuple(index or ()), folders=tuple(folder or ()))
    with tempfile.TemporaryDirectory() as place:
        fingerprint = gather(
            out,
            wheel=wheel or _built(Path(place)),
            profile=kinds[profile],
            target=TARGETS[machine],
            sources=sources,
            **({"python": python} if python else {}),
            say=write_note,
        )
    write_line(fingerprint)
    write_note(f"copy {out} to a device, then there: sudo python3 fedrec-edge.pyz install --fingerprint {fingerprint}")


def _built(place: Path) -> Path:
    """Build the wheel of the checkout that this fedrec runs from."""
    checkout = app_directory()
    if not (checkout / "pyproject.toml").exists():
        raise ConfigError("this fedrec is an installed wheel: name the wheel that devices get with --wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DataError(f"the wheel cannot be built from {checkout}: {' '.join(done.stderr.split()[-30:])}")
    return next(place.glob("*.whl"))
