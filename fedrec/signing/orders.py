"""Standing orders of a server to all its devices: one signed file, the same for everybody, polled by each of them.

Devices of every version must hear the kill switch. So the fields of the first version are a document of their own,
which has never changed, and what came later is another one beside it, ``hints``, signed by itself with the same number:

    {"kind": "orders", "payload": {...}, "signature", "hints": {"kind": "order-hints", "payload": {...}, "signature"}}

Readers pass over fields that they do not know, and over hints that they cannot use: nothing in them can keep the rest
from being followed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import SignatureError
from fedrec.signing.documents import read_document, read_parsed, sign_document

KIND, HINTS = "orders", "order-hints"
PERMILLE = 1000
_NUMBERS = ("sequence", "catalogue_version", "model_version", "canary_version", "canary_permille")
_WINDOWS = ("pace_opens", "pace_every", "pace_width")


LONGEST_PACE = 86_400
"""Seconds: most that a hint may name."""


@dataclass(frozen=True, kw_only=True)
class Gather:
    """Devices had best come together, in windows of ``width`` seconds, one every ``every`` seconds.

    ``opens``: seconds since 1970 at which one of them opens; all others follow from it.
    """

    opens: int
    every: int
    width: int

    def __post_init__(self) -> None:
        if not 1 <= self.width <= self.every <= LONGEST_PACE or not 0 <= self.opens < 2**53:
            raise ValueError(
                f"windows must be from 1 to {LONGEST_PACE} s, no longer than what is between their openings, got "
                f"{self.width} every {self.every}"
            )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Devices had best come apart: each after a time of its own, from none to so many seconds.

    ``hours``: these seconds by the hour of the day, in UTC, at which a device could come; 24 of them.
    """

    hours: tuple[int, ...]

    def __post_init__(self) -> None:
        seconds = self.hours
        if len(seconds) != 24 or any(type(one) is not int or not 0 <= one <= LONGEST_PACE for one in seconds):
            raise ValueError(f"hours must be 24 whole numbers of seconds from 0 to {LONGEST_PACE}")


Pace = Gather | Spread
"""When devices had best come to train."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What holds until the next. ``sequence`` rises with every change: an older one is never followed again.

    ``stop``: the kill switch; devices end training and polling, and go on recommending. ``catalogue_version`` and
    ``model_version``: of the manifests that a device should have, 0 for none. ``reason``: for the owner, one line.
    ``canary_version``: of a model that ``canary_permille`` of a thousand devices should have instead, 0 for none. Which
    ones follows from their names and the version alone, so that a device knows without being told apart, and those of a
    small share are among those of a larger one. ``pace_opens``, ``pace_every``, ``pace_width``: see ``Gather``;
    ``pace_hours``: see ``Spread``; all 0 and empty for no hint. It bounds nobody, and says nothing of when orders are
    read.
    """

    sequence: int
    stop: bool = False
    catalogue_version: int = 0
    model_version: int = 0
    reason: str = ""
    canary_version: int = 0
    canary_permille: int = 0
    pace_opens: int = 0
    pace_every: int = 0
    pace_width: int = 0
    pace_hours: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pace_hours", tuple(self.pace_hours))  # JSON knows lists alone
        for name in (*_NUMBERS, *_WINDOWS):
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) < 2**53:
                raise ValueError(f"{name} must be a whole number from 0")
        if type(self.stop) is not bool or not isinstance(self.reason, str) or len(self.reason) > 500:
            raise ValueError("stop must be true or false, reason a short text")
        if self.canary_permille > PERMILLE or bool(self.canary_version) != bool(self.canary_permille):
            raise ValueError("canary_permille must be from 1 to 1000 where there is a canary, else 0")
        if self.pace_hours and self.pace_every:
            raise ValueError("pace_hours spread devices and pace_every gathers them: one of them is said")
        _ = self.pace  # refuses what is no hint

    @property
    def pace(self) -> Pace | None:
        """When devices had best come to train, None for whenever they like."""
        if self.pace_hours:
            return Spread(hours=self.pace_hours)
        if any(getattr(self, name) for name in _WINDOWS):
            return Gather(opens=self.pace_opens, every=self.pace_every, width=self.pace_width)
        return None

    def paced(self, pace: Pace | None) -> Self:
        """Return these orders with another hint."""
        said: dict[str, Any] = {**dict.fromkeys(_WINDOWS, 0), "pace_hours": ()}
        said |= {f"pace_{name}": value for name, value in (asdict(pace) if pace else {}).items()}
        return replace(self, **said)

    def model_for(self, key: str) -> int:
        """Return the version of the model that the device of this name should have, 0 for none."""
        return self.canary_version if self.is_canary(key) else self.model_version

    def is_canary(self, key: str) -> bool:
        """Return whether the device of this name is one that tries the canary."""
        drawn = hashlib.sha256(f"canary {self.canary_version} {key}".encode()).digest()
        return int.from_bytes(drawn[:8]) % PERMILLE < self.canary_permille

    @property
    def bare(self) -> "Orders":
        """These orders without hints: what every device understands."""
        nothing: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in _HINTS}
        return replace(self, **nothing)

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """Return the signed file of these orders."""
        said = asdict(self)
        hints = {name: said.pop(name) for name in _HINTS}
        document = sign_document(KIND, said, key)
        if not any(hints.values()):
            return document
        beside = sign_document(HINTS, {"sequence": self.sequence, **hints}, key)
        return json.dumps({**json.loads(document), "hints": json.loads(beside)}, ensure_ascii=False).encode()

    @classmethod
    def read(cls, content: bytes, signer: str, *, whole: bool = False) -> Self:
        """Return the orders of a signed file; raise ``SignatureError`` if it is not ``signer``'s, or says nonsense.

        Hints that are of other orders, altered or malformed are left out; ``whole`` raises for them too.
        """
        said = _known(read_document(KIND, content, signer))
        try:
            bare = cls(**said)
        except (ValueError, TypeError) as error:
            raise SignatureError(f"the signed orders are malformed: {error}") from error
        try:
            beside = json.loads(content).get("hints")
            return bare if beside is None else cls(**{**said, **_hints(beside, bare.sequence, signer)})
        except (ValueError, TypeError, SignatureError) as error:
            if whole:
                raise SignatureError(f"the hints beside the signed orders are no good: {error}") from error
            return bare


_HINTS = ("canary_version", "canary_permille", *_WINDOWS, "pace_hours")
"""Fields that came after the first version. Another one goes here."""


def _known(table: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(Orders)}
    return {name: value for name, value in table.items() if name in names}


def _hints(beside: object, sequence: int, signer: str) -> dict[str, Any]:
    table = read_parsed(HINTS, beside, signer)
    if table.get("sequence") != sequence:
        raise SignatureError(f"the hints beside orders {sequence} are of other orders")
    return {name: value for name, value in _known(table).items() if name in _HINTS}
