"""Manifests: what a server says of a version, under its signature, and nothing that it did not say."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import SignatureError
from fedrec.signing.documents import sign_document
from fedrec.signing.manifest import Manifest, ManifestFile

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
FILES = {"items.json": ManifestFile(sha256="a" * 64, size=10), "vectors.npy": ManifestFile(sha256="b" * 64, size=5)}
MANIFEST = Manifest(subject="catalogue", version=3, catalogue_digest="c" * 64, files=FILES)


def payload() -> dict:
    return json.loads(MANIFEST.signed(KEY))["payload"]


def test_a_manifest_is_read_as_it_was_signed():
    assert Manifest.read(MANIFEST.signed(KEY), SIGNER, "catalogue") == MANIFEST
    assert MANIFEST.size == 15


def test_no_flip_of_a_byte_makes_another_manifest():
    content = MANIFEST.signed(KEY)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << (place % 8)
        try:
            assert Manifest.read(bytes(altered), SIGNER, "catalogue") == MANIFEST
        except SignatureError:
            continue


def test_a_manifest_of_a_model_is_none_of_a_catalogue():
    with pytest.raises(SignatureError, match="is of a catalogue, not of a model"):
        Manifest.read(MANIFEST.signed(KEY), SIGNER, "model")


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "policy"},
        {"subject": ["catalogue"]},
        {"version": 0},
        {"version": 2**53},
        {"version": True},
        {"version": "3"},
        {"catalogue_digest": "C" * 64},
        {"catalogue_digest": None},
        {"files": {}},
        {"files": []},
        {"files": None},
        {"files": {"../../etc/passwd": {"sha256": "a" * 64, "size": 1}}},
        {"files": {"/etc/passwd": {"sha256": "a" * 64, "size": 1}}},
        {"files": {"..": {"sha256": "a" * 64, "size": 1}}},
        {"files": {".hidden": {"sha256": "a" * 64, "size": 1}}},
        {"files": {"a\n": {"sha256": "a" * 64, "size": 1}}},
        {"files": {"a/b": {"sha256": "a" * 64, "size": 1}}},
        {"files": {"a" * 65: {"sha256": "a" * 64, "size": 1}}},
        {"files": {"a": {"sha256": "a" * 63, "size": 1}}},
        {"files": {"a": {"sha256": 7, "size": 1}}},
        {"files": {"a": {"sha256": "a" * 64, "size": -1}}},
        {"files": {"a": {"sha256": "a" * 64, "size": 1.0}}},
        {"files": {"a": {"sha256": "a" * 64, "size": True}}},
        {"files": {"a": {"sha256": "a" * 64}}},
        {"files": {"a": {"sha256": "a" * 64, "size": 1, "url": "http://elsewhere"}}},
        {"files": {"a": [1, 2]}},
        {"surplus": 1},
    ],
    ids=str,
)
def test_a_signed_manifest_that_says_nonsense_is_refused(change):
    with pytest.raises(SignatureError):
        Manifest.read(sign_document("manifest", {**payload(), **change}, KEY), SIGNER, "catalogue")


@pytest.mark.parametrize("missing", ["subject", "version", "catalogue_digest", "files"])
def test_a_signed_manifest_that_lacks_a_field_is_refused(missing):
    table = payload()
    del table[missing]
    with pytest.raises(SignatureError, match="malformed"):
        Manifest.read(sign_document("manifest", table, KEY), SIGNER, "catalogue")
