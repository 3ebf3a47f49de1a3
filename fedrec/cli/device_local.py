"""``fedrec device status | recommend | feedback | consent | privacy | export | forget``: a device asked by its owner.

They ask the local service. What an owner has a right to at any time, consent, export and forget, works on the device's
folder where no service runs.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.device.home import DeviceHome
from clients.device.locks import Role, holder
from clients.local_store import LocalStore
from clients.local_store.store import TRAINING
from clients.service import device_pb2 as pb
from clients.service.client import DeviceClient, ServiceNotRunningError
from fedrec.cli.output import write_json, write_line, write_note, write_table
from fedrec.errors import ConfigError, DataError
from fedrec.runs.atomic import write_atomically

Folder = Annotated[Path, typer.Argument(help="The device's folder.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
User = Annotated[str, typer.Option("--user", help="Key of the user; needed where the device has several.")]

SOURCES = {
    pb.SOURCE_MODEL: "a trained model",
    pb.SOURCE_POPULARITY: "what others chose most",
    pb.SOURCE_CATALOGUE: "the catalogue's order",
    pb.SOURCE_NONE: "nothing: there is no catalogue yet",
}
BUDGETS = {
    pb.BUDGET_STATE_UNUSED: "unused",
    pb.BUDGET_STATE_LEFT: "left",
    pb.BUDGET_STATE_SPENT: "spent: this device trains no more",
    pb.BUDGET_STATE_LEDGER_BROKEN: "counts as spent: the ledger cannot be trusted",
}


def status(folder: Folder, as_json: AsJson = False) -> None:
    """Say how a device is doing: what runs, what it recommends from, consent, and what training has spent."""
    home = _home(folder)
    roles = {role.value: holder(home.run, role) for role in Role}
    try:
        with DeviceClient.of(home) as client:
            found, privacy = client.status(), client.privacy()
    except ServiceNotRunningError:
        if as_json:
            write_json({"roles": roles, "service": None, "privacy": None})
        else:
            _write_roles(roles)
        raise
    if as_json:
        write_json({"roles": roles, "service": _record(found), "privacy": _record(privacy)})
        return
    _write_roles(roles)
    write_line(f"recommends from: {SOURCES[found.source]}{_versions(found)}")
    of = "1 user" if found.num_users == 1 else f"{found.num_users} users"
    write_line(f"holds: {found.num_events} events of {of}; {found.num_items} items to choose from")
    write_line(f"consent to training: {_words(found.consent)}")
    write_line(f"privacy budget: {BUDGETS[privacy.state]}. {privacy.summary}")
    if found.training_stopped:
        write_line(f"the server has stopped training on its devices: {found.stop_reason or 'no reason given'}")
    phases = [f"{one.phase}{f' ({one.reason})' if one.reason else ''} {one.count}" for one in found.phases]
    write_line(f"tasks: {', '.join(phases) or 'none yet'}")
    for notice in found.notices:
        write_line(f"note: {notice}")


def recommend(
    folder: Folder,
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="How many items.")] = 10,
    user: User = "",
    exclude: Annotated[str, typer.Option(metavar="ID,ID,...", help="Raw item ids to leave out.")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Say why each item is on the list.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recommend to a user of the device, from the device's own events."""
    without = [item.strip() for item in exclude.split(",") if item.strip()]
    with DeviceClient.of(_home(folder)) as client:
        reply = client.recommend(user=user, k=k, exclude=without, explain=explain)
    if as_json:
        write_json(_record(reply))
        return
    rows = [
        [f"{rank}. {pick.title}", pick.item, f"{pick.score:.3g}"] for rank, pick in enumerate(reply.recommendations, 1)
    ]
    write_table(f"from {SOURCES[reply.source]}", ["title", "item", "score"], rows)
    if explain:
        for rank, pick in enumerate(reply.recommendations, 1):
            write_line(
                f"{rank}. {pick.title}: {'; '.join(reason.text for reason in pick.reasons) or 'no reason known'}"
            )


def feedback(
    folder: Folder,
    item: Annotated[str, typer.Argument(help="Raw item id.", metavar="ITEM")],
    kind: Annotated[
        str, typer.Option(help="What happened: a word as 'view'; 'rating' and 'dismissal' are known.")
    ] = "",
    value: Annotated[float | None, typer.Option(help="How much or how good, for instance the rating.")] = None,
    user: User = "",
    keep_unknown: Annotated[
        bool, typer.Option("--keep-unknown", help="Keep the event though the catalogue does not know the item.")
    ] = False,
) -> None:
    """Keep one event of a user; it counts in the next list."""
    with DeviceClient.of(_home(folder)) as client:
        number = client.record(item, user=user, kind=kind, value=value, keep_unknown=keep_unknown)
    write_line(f"kept as event {number}")


def consent(
    folder: Folder,
    grant: Annotated[bool | None, typer.Option("--grant/--withdraw", help="Consent, or withdraw.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the owner's consent to training, or change it; withdrawing deletes replies that are not yet sent."""
    home = _home(folder)
    try:
        with DeviceClient.of(home) as client:
            state = client.consent() if grant is None else client.set_consent(grant)
    except ServiceNotRunningError:
        with _store(home) as store:
            own = store.consent() if grant is None else store.set_consent(grant, scope=TRAINING)
        state = pb.ConsentState(version=own.version, granted=own.granted, scope=own.scope, time=own.time)
    if as_json:
        write_json(_record(state))
        return
    write_line(f"consent to training: {_words(state)}")
    if state.granted:
        write_note(f"training asks for 'consent = true' in {home.policy} too")


def privacy(
    folder: Folder,
    releases: Annotated[int, typer.Option(min=0, max=1000, help="How many of the last releases to list.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say what training has spent of the privacy budget of this device's users."""
    with DeviceClient.of(_home(folder)) as client:
        found = client.privacy(releases)
    if as_json:
        write_json(_record(found))
        return
    write_line(f"privacy budget: {BUDGETS[found.state]}. {found.summary}")
    for one in found.spent:
        write_line(f"{one.unit}: {one.adjacency}; against {one.adversary}")
    if found.charges:
        write_line(
            f"releases: {found.committed} made, {found.aborted} given up, {found.reserved_lost} ended unknown; all of "
            "them count"
        )
    rows = [
        [line.time, line.run, str(line.round), line.name, line.unit, f"{line.epsilon:.3g}", line.outcome or "unknown"]
        for line in found.releases
    ]
    if rows:
        write_table("releases", ["time", "run", "round", "release", "unit", "epsilon after", "outcome"], rows)


def export(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", help="A new file, for its owner alone; else standard output.")
    ] = None,
) -> None:
    """Write everything that the device holds of its users as one JSON document. It is private."""
    home = _home(folder)
    if out is not None and out.exists():
        raise DataError(f"{out} exists: name a new file")
    try:
        with DeviceClient.of(home, seconds=60) as client:
            document: Mapping[str, Any] = client.export()
    except ServiceNotRunningError:
        with _store(home) as store:
            document = store.export()
    if out is None:
        write_json(document)
        return
    write_atomically(out, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode(), mode=0o600)
    write_note(f"wrote {out}: keep it as private as the device")


def import_(
    folder: Folder,
    document: Annotated[Path, typer.Argument(help="What 'fedrec device export' wrote.", metavar="FILE")],
) -> None:
    """Take over on a fresh device what another one exported: events, consents, ledger, policy, private state."""
    try:
        table = json.loads(document.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{document} does not exist: name a file that 'fedrec device export' wrote") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{document} is not JSON: name a file that 'fedrec device export' wrote") from error
    with _store(_home(folder)) as store:
        store.import_(table)
    write_line("taken over: the ledger goes on where the other device's ended; do not use both")


def forget(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete what the device holds of its users: events, unsent replies, private state. The ledger stays."""
    home = _home(folder)
    if not yes:
        typer.confirm("Delete all events, unsent replies and private state of this device, for good?", abort=True)
    try:
        with DeviceClient.of(home, seconds=60) as client:
            gone = client.forget()
    except ServiceNotRunningError:
        with _store(home) as store:
            gone = store.forget()
    write_line(
        f"forgot {gone} events, unsent replies and private state; consent is withdrawn. The privacy ledger stays: it "
        "holds no item, and what it counts is spent."
    )


COMMANDS: Mapping[str, Callable[..., None]] = {
    "status": status,
    "recommend": recommend,
    "feedback": feedback,
    "consent": consent,
    "privacy": privacy,
    "export": export,
    "import": import_,
    "forget": forget,
}
"""All commands of this module by name."""


def _home(folder: Path) -> DeviceHome:
    home = DeviceHome(folder)
    if not home.settings.exists():
        raise ConfigError(f"{folder} is no device's folder: make one with 'fedrec device init {folder} ...'")
    return home


@contextmanager
def _store(home: DeviceHome) -> Iterator[LocalStore]:
    """Open the device's store where no service answers for it."""
    with LocalStore.open(home.store) as store:
        if store.quarantined:
            write_note(f"the database was damaged and has been set aside as {store.quarantined}")
        yield store


def _record(message: Any) -> dict[str, Any]:
    """Return a reply as JSON values with the names of ``device.proto``, fields at their defaults included."""
    return {field.name: _value(getattr(message, field.name), field) for field in message.DESCRIPTOR.fields}


def _value(value: Any, field: Any) -> Any:
    if field.is_repeated:
        return [_single(entry, field) for entry in value]
    return _single(value, field)


def _single(value: Any, field: Any) -> Any:
    if field.message_type:
        return _record(value)
    return field.enum_type.values_by_number[value].name if field.enum_type else value


def _write_roles(roles: Mapping[str, int | None]) -> None:
    for role, process in roles.items():
        write_line(f"{role}: {f'runs as process {process}' if process else 'does not run'}")


def _versions(found: pb.StatusReply) -> str:
    parts = []
    if found.model_version:
        parts.append(f"model {found.model_version}")
    if found.catalogue_version:
        parts.append(f"catalogue {found.catalogue_version}")
    return f" ({', '.join(parts)})" if parts else ""


def _words(state: pb.ConsentState) -> str:
    if not state.version:
        return "not given"
    when = datetime.fromtimestamp(state.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{'given' if state.granted else 'withdrawn'} on {when} ({state.scope})"
