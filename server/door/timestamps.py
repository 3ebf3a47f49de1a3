"""Flower's node authentication, as far as the front door looks at it: a signed time stamp (flwr 1.41).

The signature is over the time alone, by which Flower lets the same headers pass for five minutes, with any body. So
it tells who knocks, and no more; what counts is signed in the reply's envelope.
"""

import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

AHEAD = datetime.timedelta(seconds=5)
BEHIND = datetime.timedelta(seconds=305)


def signed_now(public_key: str, signature: bytes, timestamp: str, now: datetime.datetime) -> bool:
    """Return whether the owner of ``public_key`` (PEM) signed ``timestamp`` (ISO 8601), and that is about ``now``."""
    try:
        signed_at = datetime.datetime.fromisoformat(timestamp)
        key = serialization.load_pem_public_key(public_key.encode())
        if signed_at.tzinfo is None or not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, timestamp.encode("ascii"), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return -AHEAD < now - signed_at < BEHIND
