"""``python -m clients.supervisor node|trainer DIR``: one role of a device, and nothing else in the process."""

import logging
import sys
from pathlib import Path

from clients.device.home import DeviceHome
from clients.device.locks import Role
from clients.supervisor.isolation import end_with_parent
from clients.supervisor.roles import run_role, stop_on_signals
from fedrec.errors import FedRecError


def main(arguments: list[str]) -> int:
    """Run a role until the process is told to end; return the exit status."""
    if len(arguments) != 2 or arguments[0] not in set(Role):
        print("usage: python -m clients.supervisor api|node|trainer DIR", file=sys.stderr)
        return 2
    end_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("clients").setLevel(logging.INFO)
    try:
        run_role(DeviceHome(Path(arguments[1])), Role(arguments[0]), stop_on_signals())
    except FedRecError as error:
        print("error:", error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
