"""Standing orders of a server to all its devices: one signed file, the same for everybody, polled by each of them."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import SignatureError
from fedrec.signing.documents import read_document, sign_document

KIND = "orders"
PERMILLE = 1000
_NUMBERS = ("sequence", "catalogue_version", "model_version", "canary_version", "canary_permille")
_PACE = ("pace_opens", "pace_every", "pace_width")


LONGEST_PACE = 86_400
"""Seconds: most that a hint may name."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When devices had best come to train: windows of ``width`` seconds, one every ``every`` seconds.

    ``opens``: seconds since 1970 at which one of them opens; all others follow from it. A width of ``every`` is a
    window without end: devices spread over it.
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
class Orders:
    """What holds until the next. ``sequence`` rises with every change: an older one is never followed again.

    ``stop``: the kill switch; devices end training and polling, and go on recommending. ``catalogue_version`` and
    ``model_version``: of the manifests that a device should have, 0 for none. ``reason``: for the owner, one line.
    ``canary_version``: of a model that ``canary_permille`` of a thousand devices should have instead, 0 for none. Which
    ones follows from their names and the version alone, so that a device knows without being told apart, and those of a
    small share are among those of a larger one. ``pace_opens``, ``pace_every``, ``pace_width``: see ``Pace``, all 0 for
    no hint; it bounds nobody, and says nothing of when orders are read.
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

    def __post_init__(self) -> None:
        for name in (*_NUMBERS, *_PACE):
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) < 2**53:
                raise ValueError(f"{name} must be a whole number from 0")
        if type(self.stop) is not bool or not isinstance(self.reason, str) or len(self.reason) > 500:
            raise ValueError("stop must be true or false, reason a short text")
        if self.canary_permille > PERMILLE or bool(self.canary_version) != bool(self.canary_permille):
            raise ValueError("canary_permille must be from 1 to 1000 where there is a canary, else 0")
        if any(getattr(self, name) for name in _PACE):
            Pace(opens=self.pace_opens, every=self.pace_every, width=self.pace_width)

    @property
    def pace(self) -> Pace | None:
        """When devices had best come to train, None for whenever they like."""
        if not self.pace_every:
            return None
        return Pace(opens=self.pace_opens, every=self.pace_every, width=self.pace_width)

    def model_for(self, key: str) -> int:
        """Return the version of the model that the device of this name should have, 0 for none."""
        return self.canary_version if self.is_canary(key) else self.model_version

    def is_canary(self, key: str) -> bool:
        """Return whether the device of this name is one that tries the canary."""
        drawn = hashlib.sha256(f"canary {self.canary_version} {key}".encode()).digest()
        return int.from_bytes(drawn[:8]) % PERMILLE < self.canary_permille

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """Return the signed file of these orders."""
        # Devices of before know neither; what says nothing is left out.
        said = {
            name: value for name, value in asdict(self).items() if value or not name.startswith(("canary_", "pace_"))
        }
        return sign_document(KIND, said, key)

    @classmethod
    def read(cls, content: bytes, signer: str) -> Self:
        """Return the orders of a signed file; raise ``SignatureError`` if it is not ``signer``'s, or says nonsense."""
        payload = read_document(KIND, content, signer)
        try:
            return cls(**payload)
        except (ValueError, TypeError) as error:
            raise SignatureError(f"the signed orders are malformed: {error}") from error
