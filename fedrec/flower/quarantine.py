"""Why a reply is set aside: one code each, which reports count and logs name. The round goes on without it."""

from enum import StrEnum

from fedrec.errors import ProtocolError, UpgradeRequiredError


class QuarantineReason(StrEnum):
    """What is wrong with a reply. None of them says what a user did."""

    MALFORMED = "malformed"
    """It cannot be read."""
    UPGRADE = "upgrade-required"
    """It is of another version of the messages."""
    STALE = "stale"
    """It answers a task of an earlier round of this run."""
    NEVER_ASKED = "never-asked"
    """Its nonce is of no task that is known."""
    DUPLICATE = "duplicate"
    """Its task is answered already."""
    FORGED_SOURCE = "forged-source"
    """It answers another node's task, or comes from elsewhere than the task was sent to."""
    UNSIGNED = "unsigned"
    """It has no seal, and the server has a list of devices."""
    REVOKED = "revoked"
    """Its device is not, or no more, on the list."""
    SIGNATURE = "signature"
    """Its seal is not signed by the device's key."""
    REPLAYED = "replayed"
    """It is a device's own, for another task, or its number has been counted before."""
    MISMATCH = "mismatch"
    """Its seal is of another reply: of other tensors, users, or received parameters."""
    USERS = "other-users"
    """It speaks for another number of users than were asked."""
    NOT_FINITE = "not-finite"
    """Something in it is NaN or infinite."""
    BOUND = "above-bound"
    """It is larger than its users' clipped contributions can be."""


ALARMS = frozenset(
    {
        QuarantineReason.NEVER_ASKED,
        QuarantineReason.FORGED_SOURCE,
        QuarantineReason.UNSIGNED,
        QuarantineReason.REVOKED,
        QuarantineReason.SIGNATURE,
        QuarantineReason.REPLAYED,
        QuarantineReason.MISMATCH,
    }
)
"""What an honest device with a working network does not do: somebody pretends, or a device was copied."""


MISCONDUCT = frozenset(
    {QuarantineReason.MALFORMED, QuarantineReason.USERS, QuarantineReason.NOT_FINITE, QuarantineReason.BOUND}
)
"""What no honest device's own reply is, whatever its data: held against a device that is known to have sent it."""


class QuarantineError(ProtocolError):
    """A reply cannot count. ``reason``: the code."""

    def __init__(self, reason: QuarantineReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def reason_of(error: ProtocolError) -> QuarantineReason:
    """Return the code of what is wrong with a reply."""
    if isinstance(error, QuarantineError):
        return error.reason
    return QuarantineReason.UPGRADE if isinstance(error, UpgradeRequiredError) else QuarantineReason.MALFORMED
