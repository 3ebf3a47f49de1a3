"""The one key of a device: SECP384R1, which Flower's SuperNode authentication asks for, and which signs its replies.

What a device signs is told apart from what Flower lets it sign (time stamps) by ``canonical_bytes``' first line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.errors import DataError, SignatureError
from fedrec.runs.atomic import write_atomically
from fedrec.signing.canonical import canonical_bytes


def create_device_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a key and write it as PEM (PKCS #8, not encrypted) for its owner alone; ``DataError`` if there is one."""
    if path.exists():
        raise DataError(f"{path} holds a device key already: a device keeps one key for life")
    key = ec.generate_private_key(ec.SECP384R1())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(path, text, mode=0o600)
    return key


def load_device_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a device's key; ``DataError`` if it is missing, of another kind, or open to others than its owner."""
    try:
        mode, text = path.stat().st_mode, path.read_bytes()
        key = serialization.load_pem_private_key(text, password=None)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: make the device with 'fedrec device init'") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a private key in PEM: restore it, or enrol the device anew") from error
    if mode & 0o077:
        raise DataError(f"{path} may be read by others (mode {mode & 0o777:o}): chmod 600 it")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise DataError(f"{path} is not a key on the curve SECP384R1: enrol the device anew")
    return key


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the public half as PEM text: what a server keeps of a device."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form).decode()


def sign_statement(kind: str, payload: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """Return the hex of a device's signature (ECDSA with SHA-384, DER) on a statement."""
    return key.sign(canonical_bytes(kind, payload), ec.ECDSA(hashes.SHA384())).hex()


def verify_statement(kind: str, payload: Mapping[str, Any], signature: str, public: str) -> None:
    """Raise ``SignatureError`` unless the owner of ``public`` (PEM) signed this statement."""
    try:
        key = serialization.load_pem_public_key(public.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise SignatureError("the enrolled key is not an elliptic-curve key: enrol the device anew")
        key.verify(bytes.fromhex(signature), canonical_bytes(kind, payload), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"the {kind} is not signed by the enrolled key") from error
