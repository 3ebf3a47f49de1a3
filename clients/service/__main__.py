"""``python -m clients.service DIR``: one device's local service, and nothing else in the process."""

import contextlib
import ctypes
import logging
import os
import sys
from pathlib import Path

from clients.device.home import DeviceHome
from fedrec.errors import FedRecError

M_ARENA_MAX = -8
"""Of glibc's ``mallopt``: how many heaps threads have. Each holds on to what one request freed."""


def main(arguments: list[str]) -> int:
    """Serve the device in the folder that is named until the process is told to end."""
    if len(arguments) != 1:
        print("usage: python -m clients.service DIR", file=sys.stderr)
        return 2
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have one heap, or no such call
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    # One thread a product: read by numpy's OpenBLAS when it is loaded, which is why that happens below only.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from clients.service.server import serve

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        serve(DeviceHome(Path(arguments[0])))
    except FedRecError as error:
        print("error:", error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
