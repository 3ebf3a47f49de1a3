"""The installed code, pinned: what a device runs is what it was locked to, and no server's bundle is ever run.

    app.lock    {"fedrec", "flwr", "bundle"}: versions, and the hash of the bundle that the installed code makes

An upgrade has another version and is locked anew by itself. Other code under the same version is a half-made
installation or worse, and does not train.
"""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import clients
import fedrec
from clients.device.home import DeviceHome
from fedrec.errors import DataError
from fedrec.flower.bundle import build_bundle, bundle_hash
from fedrec.runs.atomic import write_atomically


@dataclass(frozen=True, kw_only=True)
class Code:
    """The installed code. ``bundle``: hex of the SHA-256 of the app bundle that it makes."""

    fedrec: str
    flwr: str
    bundle: str


def installed_code() -> Code:
    """Return what is installed; ``DataError`` if a part is missing."""
    return Code(fedrec=fedrec.__version__, flwr=version("flwr"), bundle=bundle_hash(build_bundle(_app())))


def _app() -> Path:
    """Return the app directory of this installation."""
    return Path(clients.__file__).resolve().parent.parent


def lock_code(home: DeviceHome) -> Code:
    """Pin the device to the code as it is installed now."""
    code = installed_code()
    write_atomically(home.app_lock, json.dumps(asdict(code)).encode(), mode=0o600)
    return code


def verified_code(home: DeviceHome) -> Code:
    """Return the installed code if it is what the device is pinned to; ``DataError`` saying what is not.

    A device that was never pinned, or whose fedrec or flwr was upgraded since, is pinned now. So is one that runs from
    a checkout, whose code changes under its developer's hands.
    """
    now = installed_code()
    if (_app() / ".git").exists():
        return lock_code(home)
    try:
        locked = Code(**json.loads(home.app_lock.read_bytes()))
    except FileNotFoundError:
        return lock_code(home)
    except (ValueError, TypeError) as error:
        raise DataError(f"{home.app_lock} is damaged: {_REMEDY.format(home.path)}") from error
    if (locked.fedrec, locked.flwr) != (now.fedrec, now.flwr):
        return lock_code(home)
    if locked != now:
        raise DataError(
            f"the installed code of fedrec {now.fedrec} is not what this device was locked to, so it does not train: "
            f"{_REMEDY.format(home.path)}"
        )
    return now


_REMEDY = "reinstall fedrec, or accept the code as it is by 'fedrec device doctor --lock-code {}'"
