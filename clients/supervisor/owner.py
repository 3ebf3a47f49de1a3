"""What the owner of a device wants of training, read of the device's own files at every look. Free of torch.

The policy's word is asked for again, in full, before each task (``clients.policy``); this is the quick look by which
training that runs is ended.
"""

import tomllib

from clients.device.home import DeviceHome
from clients.local_store import LocalStore
from clients.supervisor.orders import standing
from fedrec.errors import FedRecError


def objection(home: DeviceHome, store: LocalStore) -> str:
    """Return why the owner, or the server's owner by a standing order, does not want training; "" for no reason."""
    try:
        orders = standing(home)
    except FedRecError as error:
        return f"the standing orders cannot be read: {error}"
    if orders is not None and orders.stop:
        return f"the server's owner has stopped training{f': {orders.reason}' if orders.reason else ''}"
    if not _policy_consents(home):
        return "the policy does not consent (consent = true in policy.toml)"
    if not store.consent().granted:
        return "the owner has not consented: 'fedrec device consent' says how"
    return ""


def _policy_consents(home: DeviceHome) -> bool:
    try:
        return tomllib.loads(home.policy.read_text(encoding="utf-8")).get("consent") is True
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
