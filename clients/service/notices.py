"""What an owner should know beside figures, in plain words, and what the server last ordered."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from clients.device.home import DeviceHome
from clients.inference.recommender import Serving
from clients.local_store import LocalStore

MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class StandingOrders:
    """Whether training is stopped, and the server's reason."""

    stop: bool = False
    reason: str = ""


def standing_orders(home: DeviceHome) -> StandingOrders:
    """Return the orders that this device follows, none if it has none.

    Their signature was verified before they were written here; to show them needs no second look.
    """
    try:
        with home.orders.open("rb") as file:
            payload = json.loads(file.read(MOST_BYTES))["payload"]
        return StandingOrders(stop=bool(payload["stop"]), reason=str(payload["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return StandingOrders()


def notices(store: LocalStore, serving: Serving, *, can_record: bool) -> Iterator[str]:
    """Yield sentences for the owner; none where all is well."""
    aside = store.set_aside
    if aside:
        yield (
            f"A damaged database was set aside as {aside[-1].name}: events before it are gone unless it can be mended; "
            "the privacy ledger is untouched."
        )
    if not store.writable:
        yield "The file system is read-only: events cannot be kept. Mount it writable."
    elif not can_record:
        yield "The last event could not be kept: is the disk full?"
    if serving.problem:
        yield serving.problem
    elif not serving.num_items:
        yield "There is no catalogue yet: the device fetches it when it is online."
    elif serving.source != "model":
        yield "There is no model yet: recommendations are what others chose most."
