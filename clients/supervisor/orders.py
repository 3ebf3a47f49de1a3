"""The server's standing orders as this device follows them: signed, never older than those it has followed before.

They are kept, so that a stop holds over a restart without a network: whoever cuts the line does not undo it.
"""

from pathlib import Path

from clients.device.home import DeviceHome
from fedrec.errors import DataError, SignatureError
from fedrec.runs.atomic import write_atomically
from fedrec.signing.orders import Orders

NAME = "orders.json"
LIMIT = 64 * 1024
"""Bytes of orders that are read at most."""


def read_signer(path: Path) -> str:
    """Return the hex of the key that the device trusts; ``DataError`` if the file is missing or is none."""
    try:
        signer = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: enrol the device again, or copy the server's signer.pub") from error
    if len(signer) != 64 or any(sign not in "0123456789abcdef" for sign in signer):
        raise DataError(f"{path} is not the hex of a key: copy the server's signer.pub")
    return signer


def standing(home: DeviceHome) -> Orders | None:
    """Return the orders that were last followed, None before the first.

    Raises ``SignatureError`` or ``DataError`` if what is kept is damaged: nothing is trained until new ones come.
    """
    try:
        content = home.orders.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{home.orders} cannot be read: {error.strerror}") from error
    return Orders.read(content, read_signer(home.signer))


def follow(home: DeviceHome, content: bytes) -> Orders:
    """Verify orders that came, keep them durably and return them.

    Raises ``SignatureError`` if they are not the trusted signer's, are older than those that are followed, or other
    orders under the same number: the ones that are followed stay.
    """
    orders = Orders.read(content, read_signer(home.signer))
    before = _before(home)
    if before is not None and orders.sequence < before.sequence:
        raise SignatureError(
            f"the server sent orders {orders.sequence}, older than {before.sequence}, which this device follows: "
            "they are refused"
        )
    if before is not None and orders == before.bare:
        return before  # the same, and their hints were lost on the way
    if before is not None and orders.sequence == before.sequence and before not in (orders, orders.bare):
        raise SignatureError(f"the server signed two different orders as number {orders.sequence}: the first stay")
    if orders != before:
        write_atomically(home.orders, content, mode=0o600)
    return orders


def _before(home: DeviceHome) -> Orders | None:
    try:
        return standing(home)
    except SignatureError:
        return None  # damaged on the disk: the next good ones replace them
