"""What a device says of its reply, and of itself, under its own signature: for servers with a list of enrolled devices.

Transport's words on who sent a message are not signed with its content, and can be forged by any other node. So a reply
carries an envelope that names the task, the round, the nonce, what the device received and what it answers, signed by
the device's key; its ``sequence`` rises with every reply of the device, whatever the run. Knows neither transport nor
tensors.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.signing.device_keys import sign_statement, verify_statement

REPLY, CARD = "reply", "card"
"""Kinds of statements, as ``fedrec.signing.canonical`` puts them in front of what is signed."""

DIGEST = re.compile(r"[0-9a-f]{64}")
NONCE = re.compile(r"[0-9a-f]{32}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SIGNATURE = re.compile(r"(?:[0-9a-f]{2}){8,128}")
"""Hex of a signature by an elliptic curve up to 521 bits, in DER."""

_TEXTS = {
    "contribution": re.compile(r"[a-z][a-z-]{0,31}"),
    "run_id": NAME,
    "nonce": NONCE,
    "model_digest": DIGEST,
    "catalogue_digest": DIGEST,
    "policy_digest": DIGEST,
    "key": NAME,
    "reply_digest": DIGEST,
}
_COUNTS = {"round": 2**31, "catalogue_version": 2**53, "sequence": 2**53, "num_users": 2**31}


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What a reply is an answer to, and of what. Raises ``ValueError`` for a field that is out of its form."""

    contribution: str
    """The task's kind: a ``fedrec.rounds.Contribution``."""
    run_id: str
    round: int
    nonce: str
    model_digest: str
    """``state_digest`` of the shared parameters that the device received: an auditor tells by it whether all devices
    were sent the same."""
    catalogue_digest: str
    catalogue_version: int
    """Of the signed manifest that the device installed; 0 for a catalogue that came by another way."""
    policy_digest: str
    """SHA-256 of the owner's policy as it was when the device agreed."""
    sequence: int
    """Rises with every reply of the device, over all runs, for life."""
    key: str
    """The node's."""
    num_users: int
    reply_digest: str
    """``state_digest`` of the reply's tensors as they are sent."""

    def __post_init__(self) -> None:
        for name, pattern in _TEXTS.items():
            text = getattr(self, name)
            if not isinstance(text, str) or not pattern.fullmatch(text):
                raise ValueError(f"{name} must match {pattern.pattern}")
        for name, bound in _COUNTS.items():
            number = getattr(self, name)
            if type(number) is not int or not 0 <= number < bound:
                raise ValueError(f"{name} must be a whole number from 0 to {bound - 1}")

    def sealed(self, key: ec.EllipticCurvePrivateKey) -> "Seal":
        """Return this envelope with the device's signature."""
        return Seal(envelope=self, signature=sign_statement(REPLY, asdict(self), key))


@dataclass(frozen=True, kw_only=True)
class Seal:
    """An envelope and its signature, which nobody has verified yet. ``ValueError`` unless it is hex."""

    envelope: Envelope
    signature: str

    def __post_init__(self) -> None:
        if not isinstance(self.signature, str) or not SIGNATURE.fullmatch(self.signature):
            raise ValueError("signature must be the hex of a signature by a device's key")

    def verify(self, public: str) -> None:
        """Raise ``SignatureError`` unless the owner of ``public`` (PEM) signed the envelope."""
        verify_statement(REPLY, asdict(self.envelope), self.signature, public)

    def to_fields(self) -> dict[str, str | int]:
        """Return the envelope's fields and the signature, flat: what travels and what the outbox keeps."""
        return {**asdict(self.envelope), "signature": self.signature}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``to_fields`` returned; raise ``ValueError`` naming a field that is missing, surplus or odd."""
        known = {*_TEXTS, *_COUNTS, "signature"}
        odd = sorted(known ^ set(fields))
        if odd:
            raise ValueError(f"{odd[0][:64]} is {'missing' if odd[0] in known else 'surplus'}")
        own = dict(fields)
        signature = own.pop("signature")
        return cls(envelope=Envelope(**own), signature=signature)


@dataclass(frozen=True, kw_only=True)
class CardStatement:
    """What a device signs when it enrols in a run: its card, and the challenge that it was asked with.

    The challenge is the server's, fresh for each question to each node, so that no card is shown twice or by another.
    """

    run_id: str
    challenge: str
    key: str
    num_users: int
    catalogue_digest: str

    def sign(self, key: ec.EllipticCurvePrivateKey) -> str:
        """Return the hex of the device's signature."""
        return sign_statement(CARD, asdict(self), key)

    def verify(self, signature: str, public: str) -> None:
        """Raise ``SignatureError`` unless the owner of ``public`` (PEM) signed this."""
        verify_statement(CARD, asdict(self), signature, public)
