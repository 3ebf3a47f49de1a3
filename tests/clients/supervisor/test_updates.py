import hashlib
from collections.abc import Iterator

import pytest

from clients.artefacts.install import current
from clients.supervisor.backoff import Failure
from clients.supervisor.link import LinkError
from clients.supervisor.updates import RESUMES, Updater, fetch
from fedrec.errors import SignatureError
from fedrec.signing.manifest import Manifest, ManifestFile
from fedrec.signing.orders import Orders

pytestmark = pytest.mark.fault


class Published:
    """A server's files, which may break off after so many bytes each time."""

    def __init__(self, files: dict[str, bytes], breaks: int = 0) -> None:
        self.files, self.breaks, self.asked = files, breaks, []

    def read(self, name: str, limit: int) -> bytes:
        return self.files[name]

    def pieces(self, name: str, size: int, start: int = 0) -> Iterator[bytes]:
        self.asked.append(start)
        content = self.files[name]
        if not self.breaks:
            yield content[start:]
            return
        yield content[start : start + self.breaks]
        if start + self.breaks < len(content):
            raise LinkError(Failure.TRANSIENT, "cut")


@pytest.fixture
def publish(signing_key):
    def make(content: bytes, version: int = 1, breaks: int = 0) -> Published:
        digest = hashlib.sha256(content).hexdigest()
        manifest = Manifest(
            subject="catalogue",
            version=version,
            catalogue_digest="0" * 64,
            files={"catalogue.json": ManifestFile(sha256=digest, size=len(content))},
        )
        files = {f"catalogue/{version}.json": manifest.signed(signing_key), f"files/{digest}": content}
        return Published(files, breaks)

    return make


def test_a_version_that_the_orders_name_is_fetched_once(device, publish):
    server = publish(b"catalogue")
    assert fetch(device, server, "catalogue", 1)
    assert current(device.catalogues) == 1
    assert not fetch(device, server, "catalogue", 1)
    assert server.asked == [0]


def test_b23_a_download_that_is_cut_at_every_piece_goes_on_where_it_broke_off(device, publish):
    """Of case B23, on the way down: nothing is fetched twice, and what is put in place is whole."""
    content = bytes(range(200))
    server = publish(content, breaks=7)
    assert fetch(device, server, "catalogue", 1)
    assert server.asked == list(range(0, 200, 7))
    assert (device.catalogues / "current" / "catalogue.json").read_bytes() == content


def test_a_download_that_brings_nothing_any_more_is_given_up(device, publish):
    server = publish(b"catalogue")
    server.pieces = lambda name, size, start=0: (server.asked.append(start), iter(()))[1]
    with pytest.raises(SignatureError, match="ended after 0"):
        fetch(device, server, "catalogue", 1)
    assert len(server.asked) == RESUMES + 1
    assert current(device.catalogues) is None


def test_what_cannot_be_fetched_is_told_and_tried_again_later(device, publish, clock):
    server = publish(b"catalogue")
    good, server.files = server.files, dict.fromkeys(server.files, b"altered!!")
    updater = Updater(device, lambda: server, clock, lambda subject: ())
    orders = Orders(sequence=1, catalogue_version=1)
    updater.bring(orders)
    assert "signed" in updater.problem
    server.files = good
    updater.bring(orders)
    assert updater.problem == ""
    assert current(device.catalogues) == 1
