"""The secret by which the trainer shows the SuperNode that it is the trainer: fresh at every start of the node role."""

import secrets
from pathlib import Path

from fedrec.errors import DataError
from fedrec.runs.atomic import write_atomically


def make_secret(path: Path) -> None:
    """Write 32 random bytes for their owner alone."""
    write_atomically(path, secrets.token_bytes(32), durable=False, mode=0o600)


def read_secret(path: Path) -> bytes:
    """Return the secret; ``DataError`` if it is missing or open to others."""
    try:
        mode, secret = path.stat().st_mode, path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: the node role writes it, 'fedrec device run --only node'") from error
    if mode & 0o077 or not secret:
        raise DataError(f"{path} must be its owner's alone: start the node role anew, which writes it again")
    return secret
