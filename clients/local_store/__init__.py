"""What a device keeps of its users in SQLite: events, consent, outbox, counters. Free of torch."""

from clients.local_store.records import (
    Consent,
    ConsentError,
    Event,
    StoredEvent,
    StoredReply,
    StoreUnwritableError,
)
from clients.local_store.store import LocalStore

__all__ = [
    "Consent",
    "ConsentError",
    "Event",
    "LocalStore",
    "StoreUnwritableError",
    "StoredEvent",
    "StoredReply",
]
