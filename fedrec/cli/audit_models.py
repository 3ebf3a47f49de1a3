"""``fedrec audit models``: whether devices were all sent the same models.

A server that sends one device a model of its own sees in that device's answer what no sum over many hides. No device
can tell alone; two logs can.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.guard.received import NOTE, Disagreement, Received, disagreements, received
from fedrec.cli.audit_outcome import never_a_pass
from fedrec.cli.output import write_json, write_line, write_table
from fedrec.errors import AuditError, DataError

MOST_BYTES = 1 << 30
"""Largest export that is read."""
SHOWN = 12
"""Letters of a digest that the table shows."""

models_app = typer.Typer(add_completion=False)


@models_app.command(name="models")
def models(
    exports: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="What 'fedrec device export' or '--log' wrote, one for each device."),
    ],
    log: Annotated[
        bool,
        typer.Option("--log", help="Write one device's log of models alone, to hand on; compare nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare which models devices were sent, round by round.

    Of an export nothing is read but the log of models; an owner who does not want to hand over the rest writes the log
    with --log. Exit code 0: no round in which two of the devices were sent different models; 1: there is one; 2: there
    is nothing to compare.
    """
    with never_a_pass():
        logs = {_name(path, exports): read_log(path) for path in exports}
        if log:
            if len(exports) != 1:
                raise DataError(f"--log writes the log of one device, got {len(exports)} files: name one")
            write_json([asdict(entry) for entry in logs[_name(exports[0], exports)]])
            return
        common = _common_rounds(logs)
        if not common:
            raise DataError(
                f"the logs of {len(logs)} {'device' if len(logs) == 1 else 'devices'} have no round in common, so that "
                "nothing was compared: give two or more devices of the same run"
            )
        found = disagreements(logs)
    _tell(found, logs, common, as_json=as_json)
    if found:
        one = found[0]
        raise AuditError(
            f"round {one.round} of run {one.run_id}: the devices were sent {len(one.devices)} different models; a "
            "device whose model is its own should not answer that server again"
        )


def read_log(path: Path) -> list[Received]:
    """Return a device's log of models from its export, or from what ``--log`` wrote; raise ``DataError`` for others."""
    if not path.is_file():
        raise DataError(f"{path} is no file: name what 'fedrec device export DIR --out FILE' wrote")
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path} is larger than {MOST_BYTES >> 20} MiB: write the log alone with --log")
    try:
        document: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: name what 'fedrec device export DIR --out FILE' wrote") from error
    if isinstance(document, list):
        return received(json.dumps(document))
    notes = document.get("notes") if isinstance(document, Mapping) else None
    if not isinstance(notes, Mapping):
        raise DataError(f"{path} is no export of a device: name what 'fedrec device export DIR --out FILE' wrote")
    text = notes.get(NOTE)
    return received(text if isinstance(text, str) else None)


def _common_rounds(logs: Mapping[str, Sequence[Received]]) -> set[tuple[str, int, str]]:
    """Return the rounds that two devices or more were sent a model for."""
    seen: set[tuple[str, int, str]] = set()
    common: set[tuple[str, int, str]] = set()
    for entries in logs.values():
        own = {(entry.run_id, entry.round, entry.contribution) for entry in entries}
        common |= own & seen
        seen |= own
    return common


def _name(path: Path, paths: Sequence[Path]) -> str:
    return path.stem if sum(other.stem == path.stem for other in paths) == 1 else str(path)


def _tell(
    found: Sequence[Disagreement],
    logs: Mapping[str, Sequence[Received]],
    common: set[tuple[str, int, str]],
    *,
    as_json: bool,
) -> None:
    if as_json:
        write_json({"devices": sorted(logs), "compared": len(common), "disagreements": [asdict(one) for one in found]})
        return
    rounds = "1 round" if len(common) == 1 else f"{len(common)} rounds"
    write_line(f"compared {rounds} that two or more of {len(logs)} devices were sent a model for")
    if not found:
        write_line("no difference: in each of them all were sent the same model")
        return
    rows = [
        [one.run_id, str(one.round), one.contribution, digest[:SHOWN], ", ".join(devices)]
        for one in found
        for digest, devices in one.devices.items()
    ]
    write_table("different models", ["run", "round", "for", "model", "devices"], rows)
