"""Fetching the versions of catalogue and model that the standing orders name, in the background of the node role."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from clients.artefacts.install import Check, install
from clients.artefacts.versions import holds
from clients.device.home import DeviceHome
from clients.supervisor.backoff import BackOff, Failure
from clients.supervisor.link import Link, LinkError
from clients.supervisor.orders import read_signer
from fedrec.errors import FedRecError
from fedrec.signing.documents import MAX_BYTES
from fedrec.signing.manifest import Subject
from fedrec.signing.orders import Orders

logger = logging.getLogger(__name__)

RESUMES = 5
"""Times that one file's broken download is taken up again before the version has to wait."""


def fetch(home: DeviceHome, link: Link, subject: Subject, version: int, checks: Sequence[Check] = ()) -> bool:
    """Install a version unless it counts already; return whether it is new.

    Raises ``LinkError``, ``SignatureError`` or ``DataError``; the version that counted before then still does.
    """
    folder = home.catalogues if subject == "catalogue" else home.models
    if version == 0 or holds(folder, version):
        return False
    manifest = link.read(f"{subject}/{version}.json", MAX_BYTES)
    opened = lambda digest, size: _resumed(link, f"files/{digest}", size)  # noqa: E731  # what install asks files by
    return install(manifest, read_signer(home.signer), subject, folder, opened, checks).fresh


def _resumed(link: Link, name: str, size: int) -> Iterator[bytes]:
    """Yield a file, beginning where it broke off if the connection does."""
    got, breaks = 0, 0
    while got < size:
        before = got
        try:
            for piece in link.pieces(name, size, got):
                got += len(piece)
                yield piece
        except LinkError as error:
            if error.failure is not Failure.TRANSIENT or breaks >= RESUMES:
                raise
        if got < size:
            breaks = 0 if got > before else breaks + 1
            if breaks > RESUMES:
                return  # shorter than its manifest says: ``install`` says so


class Updater:
    """Brings catalogue and model to what the orders name, one at a time, and waits after a failure."""

    def __init__(
        self,
        home: DeviceHome,
        link: Callable[[], Link],
        now: Callable[[], float],
        checks: Callable[[Subject], Sequence[Check]],
        backoff: BackOff | None = None,
        *,
        key: str = "",
    ) -> None:
        """``key``: the device's name, by which it finds whether it is one that tries a new model first."""
        self._key = key
        self._home, self._link, self._now, self._checks = home, link, now, checks
        self._backoff = backoff or BackOff()
        self._thread: threading.Thread | None = None
        self._next = 0.0
        self.problem = ""
        """Why what the orders name is not here, "" if it is."""

    def follow(self, orders: Orders) -> None:
        """Begin to fetch what is missing, unless it is being fetched or it is too early to try again."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._now() < self._next or not self._missing(orders):
            return
        self._thread = threading.Thread(target=self.bring, args=(orders,), name="updates", daemon=True)
        self._thread.start()

    def bring(self, orders: Orders) -> None:
        """Fetch what is missing, the catalogue first; note what went wrong."""
        try:
            for subject, version in self._missing(orders):
                if fetch(self._home, self._link(), subject, version, self._checks(subject)):
                    logger.info("version %d of the %s is in place", version, subject)
        except LinkError as error:
            self._failed(error.failure, str(error))
        except FedRecError as error:  # a wrong signature, wrong content, a full disk: the same again in a minute
            self._failed(Failure.REJECTED, str(error))
        except OSError as error:
            self._failed(Failure.TRANSIENT, f"{error.filename or self._home.path}: {error.strerror}")
        else:
            self.problem = ""
            self._backoff.succeeded()

    def _failed(self, failure: Failure, detail: str) -> None:
        self.problem = detail
        self._next = self._now() + self._backoff.failed(failure)
        logger.warning("the catalogue or model cannot be brought up to date: %s", detail)

    def _missing(self, orders: Orders) -> list[tuple[Subject, int]]:
        wanted: list[tuple[Subject, int]] = [
            ("catalogue", orders.catalogue_version),
            ("model", orders.model_for(self._key)),
        ]
        folders = {"catalogue": self._home.catalogues, "model": self._home.models}
        return [(name, version) for name, version in wanted if version and not holds(folders[name], version)]
