"""Documents that a server signs for all its devices alike: catalogue and model manifests, standing orders.

Ed25519 (RFC 8032) over ``canonical_bytes``. A file is JSON: ``{"kind", "payload", "signature": hex}``.
"""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedrec.errors import SignatureError
from fedrec.signing.canonical import canonical_bytes

MAX_BYTES = 1 << 20
"""Longest document that is parsed."""


def sign_document(kind: str, payload: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Return the file of a signed document."""
    signature = key.sign(canonical_bytes(kind, payload)).hex()
    return json.dumps({"kind": kind, "payload": payload, "signature": signature}, ensure_ascii=False).encode()


def read_document(kind: str, content: bytes, signer: str) -> dict[str, Any]:
    """Return the payload of a document of this ``kind`` that ``signer`` signed.

    ``signer``: hex of the Ed25519 public key, 32 bytes. Raises ``SignatureError`` saying what is wrong: too long, no
    JSON of that form, another kind, another or no signer. Nothing of the payload is looked at before.
    """
    if len(content) > MAX_BYTES:
        raise SignatureError(f"a {kind} of {len(content)} bytes is longer than the {MAX_BYTES} that are read")
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _no_document(kind) from error
    return read_parsed(kind, table, signer)


def read_parsed(kind: str, table: object, signer: str) -> dict[str, Any]:
    """Return the payload of a document that is JSON already, as one within another; see ``read_document``.

    What stands beside ``kind``, ``payload`` and ``signature`` is passed over.
    """
    try:
        if not isinstance(table, dict) or not isinstance(table["payload"], dict):
            raise TypeError
        payload, signature = table["payload"], bytes.fromhex(table["signature"])
        signed = canonical_bytes(kind, payload)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_document(kind) from error
    if table.get("kind") != kind:
        raise SignatureError(f"this is a signed document of another kind than {kind}")
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(signature, signed)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(
            f"the {kind} is not signed by the key {signer[:16]} that this device trusts: it was altered on the way, or "
            "comes of another server"
        ) from error
    return dict(payload)


def _no_document(kind: str) -> SignatureError:
    return SignatureError(f"this is not a signed {kind}: ask the server's owner for it anew")
