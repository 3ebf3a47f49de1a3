"""Standing orders of a server to all its devices: one signed file, the same for everybody, polled by each of them."""

from dataclasses import asdict, dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import SignatureError
from fedrec.signing.documents import read_document, sign_document

KIND = "orders"


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What holds until the next. ``sequence`` rises with every change: an older one is never followed again.

    ``stop``: the kill switch; devices end training and polling, and go on recommending. ``catalogue_version`` and
    ``model_version``: of the manifests that a device should have, 0 for none. ``reason``: for the owner, one line.
    """

    sequence: int
    stop: bool = False
    catalogue_version: int = 0
    model_version: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        for name in ("sequence", "catalogue_version", "model_version"):
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) < 2**53:
                raise ValueError(f"{name} must be a whole number from 0")
        if type(self.stop) is not bool or not isinstance(self.reason, str) or len(self.reason) > 500:
            raise ValueError("stop must be true or false, reason a short text")

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """Return the signed file of these orders."""
        return sign_document(KIND, asdict(self), key)

    @classmethod
    def read(cls, content: bytes, signer: str) -> Self:
        """Return the orders of a signed file; raise ``SignatureError`` if it is not ``signer``'s, or says nonsense."""
        payload = read_document(KIND, content, signer)
        try:
            return cls(**payload)
        except (ValueError, TypeError) as error:
            raise SignatureError(f"the signed orders are malformed: {error}") from error
