"""Whether replies of a round are their devices' own, and of this round: seals against the list of enrolled devices.

Nothing that transport says of who sent a message is trusted: it is not signed together with the message's content.
"""

from dataclasses import dataclass, replace
from typing import Self

from fedrec.envelope import Envelope
from fedrec.errors import SignatureError
from fedrec.faults import reach
from fedrec.flower.enrolment import Enrolment
from fedrec.flower.quarantine import QuarantineError, QuarantineReason
from fedrec.models.split import state_digest
from fedrec.rounds import TrainReply, TrainTask


@dataclass(frozen=True, kw_only=True)
class Seals:
    """Judges the seals of one round's replies."""

    enrolment: Enrolment
    contribution: str
    run_id: str
    round: int
    model_digest: str
    """``state_digest`` of the shared parameters that were sent."""
    catalogue_digest: str
    again: bool = False
    """Whether a process before this one asked under the same nonces, and may have counted replies before it died. The
    nonce then keeps a reply single: it is of this round, which has come to nothing yet."""

    def earlier(self, rounds: int, model_digest: str | None) -> Self:
        """Return the judge of replies to tasks of so many rounds before, which carried another model."""
        return self if not rounds else replace(self, round=self.round - rounds, model_digest=model_digest or "")

    def check(self, reply: TrainReply, key: str) -> None:
        """Raise ``QuarantineError`` unless node ``key`` has signed this very reply to the task of its nonce."""
        if reply.seal is None:
            raise QuarantineError(QuarantineReason.UNSIGNED, f"the reply of node {key!r} is not signed")
        envelope = reply.seal.envelope
        if envelope.key != key:
            text = f"node {envelope.key!r} answers the task of node {key!r}"
            raise QuarantineError(QuarantineReason.FORGED_SOURCE, text)
        public = self.enrolment.public_key(key)
        if public is None:
            raise QuarantineError(
                QuarantineReason.REVOKED, f"node {key!r} is not on the list of devices, or not any more"
            )
        try:
            reply.seal.verify(public)
        except SignatureError as error:
            raise QuarantineError(QuarantineReason.SIGNATURE, f"node {key!r}: {error}") from error
        if (envelope.run_id, envelope.round, envelope.nonce) != (self.run_id, self.round, reply.nonce):
            raise self._replayed(envelope)
        self._compare(envelope, reply)

    def accept(self, reply: TrainReply, key: str) -> None:
        """Count the reply's number for good; raise ``QuarantineError`` if it, or a later one, was counted before."""
        sequence = reply.seal.envelope.sequence if reply.seal else 0
        reach("reply.accepting")
        counted = self.enrolment.accept(key, sequence)
        if not counted and not (self.again and sequence and self.enrolment.public_key(key) is not None):
            text = f"reply {sequence} of node {key!r} has been counted before: it is a replay, or the device was copied"
            raise QuarantineError(QuarantineReason.REPLAYED, text)
        reach("reply.accepted")

    def foreign(self, reply: TrainReply) -> QuarantineError:
        """Return what is wrong with a reply whose nonce is of no task of this round."""
        public = self.enrolment.public_key(reply.seal.envelope.key) if reply.seal else None
        if reply.seal is not None and public is not None:
            try:
                reply.seal.verify(public)
            except SignatureError:
                return never_asked()
            return self._replayed(reply.seal.envelope)
        return never_asked()

    def _replayed(self, envelope: Envelope) -> QuarantineError:
        text = (
            f"node {envelope.key!r} has signed it for round {envelope.round} of run {envelope.run_id}, this is round "
            f"{self.round} of run {self.run_id}"
        )
        return QuarantineError(QuarantineReason.REPLAYED, text)

    def _compare(self, envelope: Envelope, reply: TrainReply) -> None:
        """Raise unless the envelope's other fields are those of the task that was sent and of the reply that came."""
        expected = {
            "contribution": self.contribution,
            "model_digest": self.model_digest,
            "catalogue_digest": self.catalogue_digest,
            "num_users": reply.num_users,
            "reply_digest": state_digest(reply.total),
        }
        for name, value in expected.items():
            if getattr(envelope, name) != value:
                text = f"node {envelope.key!r} has signed another {name.replace('_', ' ')} than that of task and reply"
                raise QuarantineError(QuarantineReason.MISMATCH, text)


def never_asked() -> QuarantineError:
    """Return what is wrong with a reply whose nonce nobody was given."""
    text = "its nonce is not one of this round: it is late, or was never asked for"
    return QuarantineError(QuarantineReason.NEVER_ASKED, text)


def seals_of(enrolment: Enrolment | None, task: TrainTask, *, again: bool = False) -> Seals | None:
    """Return the judge of a round's seals; None where there is no list of devices to judge by. ``again``: ``Seals``."""
    if enrolment is None:
        return None
    return Seals(
        enrolment=enrolment,
        contribution=task.contribution.value,
        run_id=task.run_id,
        round=task.round,
        model_digest=state_digest(task.shared),
        catalogue_digest=task.catalogue_digest,
        again=again,
    )
