"""What the local store holds, as values: an event, a consent, a reply that waits."""

import math
import re
from dataclasses import dataclass

from fedrec.errors import DataError

INTERACTION = "interaction"
"""The kind of an event of which no more is known than that it happened."""
DISMISSAL = "dismissal"
"""The kind of an event that says: not this one. It is kept, and it is no part of a history that is trained on."""

MOST_TEXT = 256
"""Characters of an item's id or a user's key, at most."""
WORD = re.compile(r"[a-z][a-z0-9._-]{0,31}")
"""Form of kinds, phases and reasons: words of the program's, never ids."""


class StoreUnwritableError(DataError):
    """The store cannot be written now (disk full, read-only, held too long); what it holds can still be read."""


class ConsentError(DataError):
    """What was asked for needs the owner's consent, and there is none; nothing was written."""


@dataclass(frozen=True)
class Event:
    """Something that a user did with an item. ``time``: seconds since 1970 in UTC; ``value``: for instance a rating."""

    user: str
    item: str
    time: float
    kind: str = INTERACTION
    value: float | None = None

    def __post_init__(self) -> None:
        for name in ("user", "item"):
            text = getattr(self, name)
            if not isinstance(text, str) or not 0 < len(text) <= MOST_TEXT or "\0" in text:
                raise DataError(f"the {name} of an event must be a text of 1 to {MOST_TEXT} characters")
        if not isinstance(self.kind, str) or not WORD.fullmatch(self.kind):
            raise DataError(f"the kind of an event must match {WORD.pattern}, as {INTERACTION!r} does")
        if not math.isfinite(self.time) or self.time < 0:
            raise DataError("the time of an event must be seconds since 1970, finite and not negative")
        if self.value is not None and not math.isfinite(self.value):
            raise DataError("the value of an event must be a finite number")


@dataclass(frozen=True)
class StoredEvent(Event):
    """An event in the store. ``number`` rises with every event of the device."""

    number: int = 0


@dataclass(frozen=True)
class Consent:
    """What the owner agreed to. ``version`` rises with every change, 0 before the first; ``time``: of the change."""

    version: int
    granted: bool
    scope: str
    time: float


NO_CONSENT = Consent(version=0, granted=False, scope="", time=0.0)


@dataclass(frozen=True)
class StoredReply:
    """A reply's exact bytes, as they are sent and sent again, with the sequence number that is signed in them."""

    nonce: str
    content: bytes
    sequence: int
