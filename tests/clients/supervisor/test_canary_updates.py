"""A device takes the model that the orders name for it, and fetches nothing that it has."""

import hashlib

import pytest

from clients.artefacts.install import current
from clients.supervisor.updates import Updater
from fedrec.signing.manifest import Manifest, ManifestFile
from fedrec.signing.orders import Orders

pytestmark = pytest.mark.fault


class Models:
    """A server's models, by version; ``fetched``: what was asked of their files."""

    def __init__(self, key, contents):
        self.files, self.fetched = {}, []
        for version, content in contents.items():
            digest = hashlib.sha256(content).hexdigest()
            files = {"model.json": ManifestFile(sha256=digest, size=len(content))}
            manifest = Manifest(subject="model", version=version, catalogue_digest="0" * 64, files=files)
            self.files |= {f"model/{version}.json": manifest.signed(key), f"files/{digest}": content}

    def read(self, name, limit):
        return self.files[name]

    def pieces(self, name, size, start=0):
        self.fetched.append(self.files[name])
        yield self.files[name][start:]


def names(canary):
    """Return a device's name that is, or is not, one of those that try version 2 first."""
    orders = Orders(sequence=1, model_version=1, canary_version=2, canary_permille=10)
    return next(name for name in map(str, range(10_000)) if orders.is_canary(name) == canary)


def test_e66_only_devices_of_the_share_take_the_new_model_and_all_leave_it_when_it_is_taken_back(
    device, signing_key, clock
):
    server = Models(signing_key, {1: b"good", 2: b"nan", 3: b"good"})
    rolling = Orders(sequence=2, model_version=1, canary_version=2, canary_permille=10)
    back = Orders(sequence=3, model_version=3)
    ordinary = Updater(device, lambda: server, clock, lambda subject: (), key=names(canary=False))
    ordinary.bring(rolling)
    assert current(device.models) == 1
    canary = Updater(device, lambda: server, clock, lambda subject: (), key=names(canary=True))
    canary.bring(rolling)
    assert current(device.models) == 2
    canary.bring(back)
    assert (current(device.models), canary.problem) == (3, "")
    assert (device.models / "current" / "model.json").read_bytes() == b"good"


def test_what_is_here_under_another_version_does_not_come_over_the_network_again(device, signing_key, clock):
    server = Models(signing_key, {1: b"good", 2: b"good"})
    updater = Updater(device, lambda: server, clock, lambda subject: ())
    updater.bring(Orders(sequence=1, model_version=1))
    updater.bring(Orders(sequence=2, model_version=2))
    assert (current(device.models), server.fetched) == (2, [b"good"])


def test_a_file_that_was_damaged_here_is_fetched_anew(device, signing_key, clock):
    server = Models(signing_key, {1: b"good", 2: b"good"})
    updater = Updater(device, lambda: server, clock, lambda subject: ())
    updater.bring(Orders(sequence=1, model_version=1))
    path = device.models / "1" / "model.json"
    path.chmod(0o600)
    path.write_bytes(b"evil")
    updater.bring(Orders(sequence=2, model_version=2))
    assert (current(device.models), server.fetched) == (2, [b"good", b"good"])
    assert (device.models / "current" / "model.json").read_bytes() == b"good"
