"""``python -m clients.supervisor.supernode DIR``: Flower's SuperNode for one device, as a process of its own.

Ends when Flower's loop ends: by itself Flower would stay up without polling. What it learns of the server's answers
stands in ``run/supernode.json`` for the node role, which decides when to try again.
"""

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.supervisor.code import verified_code
from clients.supervisor.flower import SuperNode, run_supernode
from clients.supervisor.isolation import end_with_parent
from clients.supervisor.places import SUPERNODE, runtime_secret, runtime_socket
from clients.supervisor.reports import SuperNodeReport, steady_now
from fedrec.errors import FedRecError
from fedrec.faults import reach

logger = logging.getLogger(__name__)


class Reporter:
    """Keeps ``run/supernode.json``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._report = SuperNodeReport(process=os.getpid())
        self._report.write(path)

    def polled(self, busy: bool) -> None:
        """Note a good poll, or that a task was taken or given back."""
        self._say(replace(self._report, polled=steady_now(), busy=busy, status=None))
        reach("supernode.pulled" if busy else "supernode.polled")

    def refused(self, status: int) -> None:
        """Note an answer that is none."""
        self._say(replace(self._report, status=status))

    def failed(self, error: str) -> None:
        """Note why this process ends."""
        self._say(replace(self._report, error=error))

    def _say(self, report: SuperNodeReport) -> None:
        self._report = report
        report.write(self._path)


def main(folder: Path) -> int:
    """Run the SuperNode of a device's folder until it ends; return its exit status."""
    end_with_parent()
    home = DeviceHome(folder)
    reporter = Reporter(home.run / SUPERNODE)
    try:
        settings = DeviceSettings.load(home.settings)
        node = SuperNode(
            address=settings.server.address,
            authority=home.authority,
            key=home.key,
            secret=runtime_secret(home),
            socket=runtime_socket(home),
            bundle=verified_code(home).bundle,
        )
        run_supernode(node, reporter.polled, reporter.refused)
    except FedRecError as error:
        reporter.failed(str(error))
        return 2
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except Exception:  # whatever breaks Flower's loop must end this process, and be in its log
        logger.exception("the SuperNode broke off")
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    flower = logging.getLogger("flwr")
    flower.setLevel(logging.INFO)  # at DEBUG it notes every look of the trainer
    flower.propagate = False  # it has a handler of its own
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it notes every request
    status = main(Path(sys.argv[1]))
    logging.shutdown()
    os._exit(status)  # not sys.exit: Flower's API thread would keep the process up
