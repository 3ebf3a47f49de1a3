"""What is wrong with a device, in plain words, and what to do about it.

Every look is a function of the device's folder that returns findings and raises nothing that a broken device can
bring about. Looks at the server by one request for the standing orders, as the node role does.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

from clients.artefacts.install import current
from clients.device.home import DeviceHome
from clients.device.locks import Role, holder
from clients.device.settings import DeviceSettings
from clients.local_store import LocalStore
from clients.service import device_pb2 as pb
from clients.service.budget import BudgetTeller
from clients.supervisor.eligibility import obstacles
from clients.supervisor.link import Link, LinkError
from clients.supervisor.machine import machine_probes
from clients.supervisor.node import MAX_AHEAD, MAX_SKEW
from clients.supervisor.orders import LIMIT, NAME, follow, read_signer
from clients.supervisor.places import NODE, TRAINER
from clients.supervisor.reports import NodeReport, TrainerReport, steady_now
from fedrec.doctor.finding import Finding, State, bad, good, note
from fedrec.errors import DataError, FedRecError, SignatureError
from fedrec.signing.device_keys import load_device_key
from fedrec.signing.orders import Orders

SILENT = 60.0
"""Seconds after which a role that has not written its report hangs."""


def examine(
    home: DeviceHome, link_to: Callable[[DeviceSettings], Link] | None = None, now: Callable[[], float] = steady_now
) -> list[Finding]:
    """Look at everything that a device needs, what all else rests on first.

    ``link_to``: opens the server's published files; ``now``: seconds since the boot.
    """
    if not home.settings.exists():
        made = "holds a device that was not enrolled" if home.key.exists() else "is no device's folder"
        return [bad("settings", f"{home.path} {made}", f"fedrec device init {home.path} --server HOST:PORT ...")]
    try:
        settings = DeviceSettings.load(home.settings)
    except FedRecError as error:
        return [bad("settings", str(error), f"correct {home.settings}")]
    opened = link_to or (lambda settings: Link(settings.server.public_url, home.authority))
    found = [good("settings", f"{settings.key} at {settings.server.address}")]
    found += [*_key(home), *_modes(home), *_code(home), *_program()]
    found += [*_server(home, opened(settings)), *_roles(home, now)]
    found += [*_database(home, settings), *_artefacts(home)]
    return found


def _key(home: DeviceHome) -> Iterator[Finding]:
    try:
        load_device_key(home.key)
        read_signer(home.signer)
    except (FedRecError, OSError) as error:
        yield Finding(
            what="keys",
            state=State.BAD,
            detail=str(error),
            remedy="restore the file from a copy; without one, export, and import into a new device in another folder",
        )
        return
    yield good("keys", "the device's key and the server's signing key are there")


def _modes(home: DeviceHome) -> Iterator[Finding]:
    private = (home.path, home.state, home.store, home.ledger, home.settings, home.policy)
    open_to_all = [path for path in private if path.exists() and path.stat().st_mode & 0o077]
    if not open_to_all:
        yield good("modes", "nobody but the owner may read what is private")
    for path in open_to_all:
        mode = "700" if path.is_dir() else "600"
        detail = f"{path} may be read by others"
        yield bad("modes", detail, f"chmod {mode} {path}")


def _code(home: DeviceHome) -> Iterator[Finding]:
    # Imported here: it brings Flower, and a broken installation of that is what is looked for.
    try:
        from clients.supervisor.code import verified_code
        from clients.supervisor.flower import check_version

        check_version()
        code = verified_code(home)
    except FedRecError as error:
        yield Finding(
            what="code", state=State.BAD, detail=str(error), remedy="do as it says, then start the device anew"
        )
        return
    except ImportError as error:
        detail = f"the installation is not whole: {error}"
        yield bad("code", detail, "install fedrec again")
        return
    detail = f"fedrec {code.fedrec} with flwr {code.flwr}, app bundle {code.bundle[:12]}"
    yield good("code", detail)


def _program() -> Iterator[Finding]:
    if find_spec("torch") is None:
        detail = "torch is not installed: this device recommends, and cannot train"
        yield note("torch", detail, "install a CPU build of torch to train")


def _server(home: DeviceHome, link: Link) -> Iterator[Finding]:
    try:
        orders = follow(home, link.read(NAME, LIMIT))
    except LinkError as error:
        remedy = (
            "check the network, the address in [server] of device.toml, the clock, and ca.crt; recommending goes on"
        )
        yield bad("server", str(error), remedy)
        return
    except (FedRecError, OSError) as error:
        remedy = "ask the server's owner; until it is mended nothing is trained"
        yield bad("server", str(error), remedy)
        return
    yield good("server", f"answers over TLS, its orders {orders.sequence} are signed")
    if link.skew is not None and not -MAX_AHEAD < link.skew < MAX_SKEW:
        side = "behind" if link.skew > 0 else "before"
        detail = f"this device's clock is {abs(link.skew):.0f} s {side} the server's"
        remedy = "let the clock be set by the network (timedatectl set-ntp true)"
        yield bad("clock", detail, remedy)
    if orders.stop:
        reason = f": {orders.reason}" if orders.reason else ""
        detail = f"the server's owner has stopped training{reason}"
        yield note("orders", detail, "nothing to do here; recommending goes on")


def _roles(home: DeviceHome, now: Callable[[], float]) -> Iterator[Finding]:
    running = {role: holder(home.run, role) for role in Role}
    for role, process in running.items():
        if process is None:
            remedy = f"start it: 'fedrec device run --only {role} {home.path}', or its systemd unit"
            yield bad(role, "does not run", remedy)
        elif role is Role.API:
            yield good(role, f"runs as process {process}")
    if running[Role.NODE] is not None:
        yield from _node(NodeReport.read(home.run / NODE), now())
    if running[Role.TRAINER] is not None:
        yield from _trainer(TrainerReport.read(home.run / TRAINER), now())


def _node(report: NodeReport | None, now: float) -> Iterator[Finding]:
    if report is None or now - report.written > SILENT:
        yield bad(Role.NODE, "runs, and does not move", "start it anew")
        return
    if report.failure:
        wait = max(0.0, (report.next_try or now) - now)
        remedy = f"it is tried again in {_span(wait)}, or at once if the node role is started anew"
        yield bad(Role.NODE, report.failure, remedy)
    elif report.state == "running":
        yield good(Role.NODE, f"polled the server {report.poll_age or 0:.0f} s ago")
    else:
        yield good(Role.NODE, "runs, and waits until the device may train")
    if report.update:
        detail = f"the catalogue or model that the server names is not here: {report.update}"
        yield Finding(
            what="update", state=State.BAD, detail=detail, remedy="the versions before it stay in use meanwhile"
        )


def _trainer(report: TrainerReport | None, now: float) -> Iterator[Finding]:
    if report is None or now - report.written > SILENT:
        yield bad(Role.TRAINER, "runs, and does not move", "start it anew")
        return
    detail = f"{report.state}; {report.answered} tasks answered, {report.ended} ended, since it was started"
    state = State.NOTE if report.failure else State.GOOD
    yield Finding(what=Role.TRAINER, state=state, detail=f"{detail}{f'; {report.failure}' if report.failure else ''}")
    if report.network:
        remedy = "run it by its systemd unit (PrivateNetwork=yes), or allow user namespaces"
        yield note(Role.TRAINER, "the kernel lets it keep the network", remedy)


def _database(home: DeviceHome, settings: DeviceSettings) -> Iterator[Finding]:
    if not home.store.exists():
        detail, remedy = f"{home.store} is missing", "start the device: it makes a fresh one; or import an export"
        yield bad("database", detail, remedy)
        return
    try:
        with LocalStore.open(home.store) as store:
            yield good("database", f"whole, {store.num_events()} events")
            for path in store.set_aside:
                remedy = "look at it with sqlite3, then delete it: it holds private events"
                yield Finding(
                    what="database", state=State.NOTE, detail=f"{path} was damaged and put aside", remedy=remedy
                )
            yield from _budget(home, store)
            yield from _eligible(home, settings, store)
    except (FedRecError, OSError) as error:
        yield Finding(
            what="database", state=State.BAD, detail=str(error), remedy="make room, or mount the disk writable"
        )


def _budget(home: DeviceHome, store: LocalStore) -> Iterator[Finding]:
    told = BudgetTeller(home, store).tell(0)
    if told.state == pb.BUDGET_STATE_LEDGER_BROKEN:
        remedy = "restore the whole folder from one copy, or make a new device; 'fedrec device export' keeps the events"
        yield bad("privacy", told.summary, remedy)
    elif told.state == pb.BUDGET_STATE_SPENT:
        yield note("privacy", told.summary, f"raise epsilon in {home.policy} if the owner wants more training")
    else:
        yield good("privacy", told.summary)


def _eligible(home: DeviceHome, settings: DeviceSettings, store: LocalStore) -> Iterator[Finding]:
    found = obstacles(settings.eligibility, machine_probes(home, store, list))
    for obstacle in found:
        yield Finding(what=f"training ({obstacle.name})", state=State.NOTE, detail=obstacle.detail)
    if not found:
        yield good("training", "nothing on this device speaks against it now")


def _artefacts(home: DeviceHome) -> Iterator[Finding]:
    orders = _followed(home)
    for subject, folder, wanted in (
        ("catalogue", home.catalogues, orders.catalogue_version if orders else 0),
        ("model", home.models, orders.model_version if orders else 0),
    ):
        have = current(folder)
        if have is None and not wanted:
            yield note(subject, f"the server has published no {subject} yet")
            continue
        elif have is None:
            detail = f"version {wanted} of the {subject} has not been fetched yet"
        elif wanted and have != wanted:
            detail = f"version {have} of the {subject} is in use, the server names {wanted}"
        else:
            yield good(subject, f"version {have}")
            continue
        yield note(subject, detail, "the node role fetches it when it can")


def _followed(home: DeviceHome) -> Orders | None:
    try:
        return Orders.read(home.orders.read_bytes(), read_signer(home.signer))
    except (OSError, SignatureError, DataError):
        return None


def _span(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} hours"
        if seconds > 5400
        else f"{seconds / 60:.0f} minutes"
        if seconds > 90
        else f"{seconds:.0f} s"
    )
