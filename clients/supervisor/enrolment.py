"""Joining a server with an enrolment code, and leaving it for good: the device proves that it has its key."""

import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from clients.supervisor.link import Link
from fedrec.errors import EnrolmentError
from fedrec.signing.device_keys import public_pem, sign_statement

LIMIT = 64 * 1024
"""Bytes of an answer that are read at most."""


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What a server says to a device that it has taken in. ``signer``: hex of the key that signs what it publishes."""

    key: str
    signer: str
    owner: str


def enrol(door: Link, code: str, name: str, key: ec.EllipticCurvePrivateKey) -> Enrolled:
    """Join the server under ``name`` with a code; ``EnrolmentError`` with its sentence if it says no."""
    proof = sign_statement("enrolment", {"code": code, "key": name}, key)
    answer = _ask(door, "enroll", {"code": code, "key": name, "public_key": public_pem(key), "proof": proof})
    try:
        found = Enrolled(key=str(answer["key"]), signer=str(answer["signer"]), owner=str(answer["owner"]))
    except KeyError as error:
        raise EnrolmentError(f"the server's answer lacks {error}: is it of this version of fedrec?") from error
    if found.key != name or len(found.signer) != 64 or any(sign not in "0123456789abcdef" for sign in found.signer):
        raise EnrolmentError("the server's answer makes no sense: is it of this version of fedrec?")
    return found


def withdraw(door: Link, name: str, key: ec.EllipticCurvePrivateKey) -> None:
    """Leave the server: it revokes the key and deletes what it holds of the device."""
    _ask(door, "withdraw", {"key": name, "proof": sign_statement("withdrawal", {"key": name}, key)})


def _ask(door: Link, what: str, body: dict[str, str]) -> dict[str, Any]:
    status, content = door.post(what, json.dumps(body).encode(), LIMIT)
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise EnrolmentError(f"the server answers HTTP {status} and no JSON: is HOST:PORT a fedrec server's?")
    if status != 200:
        said = answer.get("error")
        raise EnrolmentError(
            f"the server says no (HTTP {status}): {said if isinstance(said, str) else 'without a word'}"
        )
    return answer
