"""The device's seal: replies and cards signed by the one key of the device, before they are written anywhere.

A device seals after its noise is drawn and before its outbox is written, so that a reply that is sent again is the
same bytes under the same number. A simulated node has no key and seals nothing.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec
from safetensors import SafetensorError
from safetensors.torch import load, save

from clients.policy import Policy
from fedrec.envelope import CardStatement, Envelope, Seal
from fedrec.errors import DataError
from fedrec.models.split import state_digest
from fedrec.rounds import EncodedUpdate, NodeCard, TrainReply, TrainTask


@dataclass(frozen=True, kw_only=True)
class Sealer:
    """What a device signs with, and what its envelopes say of it."""

    key: ec.EllipticCurvePrivateKey
    node_key: str
    policy_digest: str
    """``policy_digest`` of the policy that judges the tasks."""
    catalogue_version: int
    """Of the installed catalogue's manifest; 0 for one that came by another way."""
    next_sequence: Callable[[], int]
    """Returns a number above 0 and all before it, on the disk when it returns: ``LocalStore.next_sequence``."""

    def seal(self, task: TrainTask, reply: TrainReply) -> TrainReply:
        """Return the reply with its envelope, signed. Takes a number: call it once a reply, not once a sending."""
        envelope = Envelope(
            contribution=task.contribution.value,
            run_id=task.run_id,
            round=task.round,
            nonce=reply.nonce,
            model_digest=state_digest(task.shared),
            catalogue_digest=task.catalogue_digest,
            catalogue_version=self.catalogue_version,
            policy_digest=self.policy_digest,
            sequence=self.next_sequence(),
            key=self.node_key,
            num_users=reply.num_users,
            reply_digest=state_digest(reply.total),
        )
        return replace(reply, seal=envelope.sealed(self.key))

    def sign_card(self, card: NodeCard, run_id: str, challenge: str) -> str:
        """Return the signature of a card in answer to a roll call's challenge."""
        statement = CardStatement(
            run_id=run_id,
            challenge=challenge,
            key=card.key,
            num_users=card.num_users,
            catalogue_digest=card.catalogue_digest,
        )
        return statement.sign(self.key)


def seal_of(sealer: Sealer | None) -> Callable[[TrainTask, TrainReply], TrainReply]:
    """Return what a node adds to a reply before it is written: its device's seal, or nothing without a key."""
    return sealer.seal if sealer else lambda task, reply: reply


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of a policy's terms: the same for the same terms, however the file is laid out."""
    return sha256(json.dumps(asdict(policy), sort_keys=True).encode()).hexdigest()


# --- what an outbox keeps -----------------------------------------------------------------------------------------
def reply_content(reply: TrainReply) -> bytes:
    """Return a reply with its seal as the bytes that an outbox keeps: safetensors, the rest in the file's metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in reply.total.items()}
    metadata = {"num_users": str(reply.num_users)}
    if reply.seal is not None:
        metadata["seal"] = json.dumps(reply.seal.to_fields())
    return save(tensors, metadata=metadata)


def read_reply_content(nonce: str, content: bytes) -> TrainReply:
    """Return the reply of ``reply_content``; raise ``DataError`` if it is damaged, or not what its seal is of."""
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        if not set(metadata) <= {"num_users", "seal"}:
            raise ValueError("the metadata has other names")
        fields = metadata.get("seal")
        reply = TrainReply(
            nonce=nonce,
            total=EncodedUpdate(load(content)),
            num_users=int(metadata["num_users"]),
            seal=None if fields is None else Seal.from_fields(json.loads(fields)),
        )
        if reply.seal is not None:
            _check_sealed(reply, reply.seal.envelope)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the written reply to task {nonce} is damaged: it is not sent") from error
    return reply


def _check_sealed(reply: TrainReply, envelope: Envelope) -> None:
    own = (reply.nonce, reply.num_users, state_digest(reply.total))
    if (envelope.nonce, envelope.num_users, envelope.reply_digest) != own:
        raise ValueError("the seal is of another reply")
