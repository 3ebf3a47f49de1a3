"""Making a device: its key and folders, its place at a server, its settings, policy and first catalogue.

What was done stays done: after a failure the same call goes on where it broke off, with the same key.
"""

from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from clients.artefacts.checks import content_checks
from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.device.setup import make_folders
from clients.local_store import LocalStore
from clients.supervisor.enrolment import Enrolled, enrol
from clients.supervisor.link import Link
from clients.supervisor.orders import LIMIT, NAME, follow
from clients.supervisor.updates import fetch
from fedrec.errors import DataError, FedRecError
from fedrec.runs.atomic import write_atomically
from fedrec.signing.device_keys import create_device_key, load_device_key, public_pem

MAX_AUTHORITY = 64 * 1024


def own_name(home: DeviceHome) -> str:
    """Return the name of a device that nobody names: of its key, so that another try has the name of the first."""
    public = public_pem(_device_key(home))
    return f"device-{sha256(public.encode()).hexdigest()[:12]}"


def make_device(
    home: DeviceHome, settings: DeviceSettings, *, authority: Path, code: str, signer: str = "", policy: str
) -> Enrolled:
    """Make a device and enrol it.

    ``authority``: PEM file of the server's certificate authority, come by on another way than this network. ``signer``:
    hex of the key that must sign what the server publishes, "" to take the door's word. ``policy``: text of its
    ``policy.toml``. Raises ``DataError`` if the folder holds an enrolled device, ``LinkError`` or ``EnrolmentError``
    if the server cannot be asked or says no; another call goes on from there.
    """
    content = _authority(authority)
    key = _device_key(home)
    write_atomically(home.authority, content, mode=0o644)
    enrolled = enrol(Link(settings.server.door_url, home.authority), code, settings.key, key)
    if signer and enrolled.signer != signer:
        raise DataError(
            f"the server publishes under the key {enrolled.signer[:16]}, not under {signer[:16]} as asked: ask its "
            "owner which is right before you go on"
        )
    write_atomically(home.signer, f"{enrolled.signer}\n".encode(), mode=0o644)
    finish(home, settings, policy=policy)
    return enrolled


def _device_key(home: DeviceHome) -> ec.EllipticCurvePrivateKey:
    """Return the key of a device that is being made, drawn at the first try."""
    if home.settings.exists():
        raise DataError(f"{home.path} holds an enrolled device already: name another folder")
    make_folders(home)
    return load_device_key(home.key) if home.key.exists() else create_device_key(home.key)


def finish(home: DeviceHome, settings: DeviceSettings, *, policy: str) -> None:
    """Write what needs no server: the database, the policy, and last the settings, which make it a device."""
    if not home.store.exists():
        LocalStore.create(home.store, settings.users).close()
    if not home.policy.exists():
        write_atomically(home.policy, policy.encode(), mode=0o600)
    settings.save(home.settings)


def first_versions(home: DeviceHome, settings: DeviceSettings) -> str:
    """Hear the standing orders and fetch the catalogue and model that they name.

    Returns why that could not be done, "" if it was: the node role goes on trying, and a device works without.
    """
    link = Link(settings.server.public_url, home.authority)
    try:
        orders = follow(home, link.read(NAME, LIMIT))
        fetch(home, link, "catalogue", orders.catalogue_version, content_checks("catalogue"))
        fetch(home, link, "model", orders.model_for(settings.key), content_checks("model"))
    except (FedRecError, OSError) as error:
        return str(error)
    return ""


def _authority(path: Path) -> bytes:
    try:
        content = path.read_bytes()[:MAX_AUTHORITY]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name the server's ca.crt") from error
    if b"-----BEGIN CERTIFICATE-----" not in content or b"PRIVATE KEY" in content:
        raise DataError(f"{path} is no certificate in PEM: name the server's ca.crt")
    return content
