"""The one tree of errors that fedrec raises on purpose.

Every message names the file, line or key that is wrong and what to do about it; the command line prints it as one
line and leaves with ``exit_code``.
"""


class FedRecError(Exception):
    """Base of every error that a user can act on. ``exit_code`` is what the command line returns."""

    exit_code = 2


class ConfigError(FedRecError):
    """A scenario, a ``--set`` or a combination of settings is not valid."""


class DataError(FedRecError):
    """A data file, a column or a value in it cannot be used."""


class ModelMismatchError(FedRecError):
    """Parameters and model, or model and catalogue, do not belong together."""


class ProtocolError(FedRecError):
    """A message does not say what the round's protocol requires."""


class UpgradeRequiredError(ProtocolError):
    """A message is of another version of the protocol: one of the two sides is to be upgraded."""


class SignatureError(FedRecError):
    """Something is not signed by the key that it must be signed by, or is malformed where that is; it was not used."""


class EnrolmentError(FedRecError):
    """A device may not join, or is not known: a code, a name or a key is not good for it. Nothing was changed."""


class LedgerError(FedRecError):
    """A privacy ledger is missing, broken or has been edited."""


class BudgetExceededError(FedRecError):
    """The next release would spend more than the budget allows; nothing was released or written."""


class RoundFailedError(FedRecError):
    """A round ended with fewer usable replies than the scenario requires; the model is unchanged."""


class AuditError(FedRecError):
    """An audit found a claim that does not hold."""

    exit_code = 1


class MemoryBudgetError(FedRecError):
    """A single user does not fit the memory that local training may take; nothing was trained."""

    def __init__(self, *, needed_mib: int, given_mib: int) -> None:
        super().__init__(
            f"run.memory_mib={given_mib} is too small for one user, who needs {needed_mib} MiB: raise it to "
            f"{needed_mib}, or lower model.dim, model.history_length or training.local.num_negatives"
        )
        self.needed_mib = needed_mib
        self.given_mib = given_mib
