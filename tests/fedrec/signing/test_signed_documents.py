"""Documents of a server: what is signed is read, and no byte of it can be another."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.errors import SignatureError
from fedrec.signing.documents import MAX_BYTES, read_document, sign_document

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
SIGNER = KEY.public_key().public_bytes(*RAW).hex()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes(*RAW).hex()

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.booleans() | numbers | st.text(max_size=5)
nested = values | st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2)
payloads = st.dictionaries(st.text(max_size=3), nested, max_size=3)
few = settings(max_examples=30, deadline=None)


def unchanged(kind: str, content: bytes, payload: object) -> bool:
    """Return whether a document is either refused or read as the very payload that was signed."""
    try:
        return read_document(kind, content, SIGNER) == payload
    except SignatureError:
        return True


@few
@given(payloads)
def test_what_was_signed_is_what_is_read(payload):
    assert read_document("orders", sign_document("orders", payload, KEY), SIGNER) == payload


def test_no_flip_of_a_byte_makes_another_document():
    payload = {"sequence": 7, "stop": False, "reason": "grüße", "files": {"a": [1, 2.5, None]}}
    content = sign_document("orders", payload, KEY)
    assert content.isascii() is False  # letters beyond ASCII are flipped too
    for place in range(len(content)):
        for bit in range(8):
            altered = bytearray(content)
            altered[place] ^= 1 << bit
            assert unchanged("orders", bytes(altered), payload), (place, bit)


def test_no_cut_and_no_tail_makes_another_document():
    payload = {"sequence": 7}
    content = sign_document("orders", payload, KEY)
    for place in range(len(content)):
        with pytest.raises(SignatureError):
            read_document("orders", content[:place], SIGNER)
    with pytest.raises(SignatureError):
        read_document("orders", content + b"{}", SIGNER)


@few
@given(payloads, payloads)
def test_a_signature_is_of_one_payload(signed, put):
    table = json.loads(sign_document("orders", signed, KEY)) | {"payload": put}
    assert unchanged("orders", json.dumps(table).encode(), signed)


@few
@given(st.binary(max_size=400))
def test_no_junk_is_a_document(junk):
    with pytest.raises(SignatureError):
        read_document("orders", junk, SIGNER)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"{}",
        b"[" * 100_000,
        b'{"kind": "orders", "payload": [], "signature": ""}',
        b'{"kind": "orders", "payload": {}, "signature": 7}',
        b'{"kind": "orders", "payload": {}, "signature": "zz"}',
        b'{"kind": "orders", "payload": {"x": NaN}, "signature": "00"}',
        b'{"kind": "orders", "payload": {"x": "\\ud800"}, "signature": "00"}',
        b'{"kind": "orders", "payload": {"x": 1e999}, "signature": "00"}',
        b'{"kind": "orders", "payload": ' + b'{"x":' * 50_000 + b"1" + b"}" * 50_000 + b', "signature": "00"}',
        b'{"kind": "orders", "payload": {"x": ' + b"9" * 5_000 + b'}, "signature": "00"}',
    ],
)
def test_what_has_not_the_form_is_refused_and_nothing_else_is_raised(content):
    with pytest.raises(SignatureError):
        read_document("orders", content, SIGNER)


def test_a_document_of_one_kind_is_none_of_another():
    table = json.loads(sign_document("orders", {"sequence": 1}, KEY))
    with pytest.raises(SignatureError, match="another kind"):
        read_document("manifest", json.dumps(table).encode(), SIGNER)
    with pytest.raises(SignatureError, match="not signed by the key"):
        read_document("manifest", json.dumps(table | {"kind": "manifest"}).encode(), SIGNER)


@pytest.mark.parametrize("signer", [OTHER, "", "00", "zz", "00" * 31, "00" * 32, "ff" * 32])
def test_another_signer_s_document_is_refused(signer):
    with pytest.raises(SignatureError, match="is not signed by the key"):
        read_document("orders", sign_document("orders", {"sequence": 1}, KEY), signer)


def test_a_document_that_is_too_long_is_not_even_parsed():
    with pytest.raises(SignatureError, match="longer than"):
        read_document("orders", b" " * (MAX_BYTES + 1), SIGNER)


def test_a_document_without_number_forms_that_differ_between_readers_is_signed():
    with pytest.raises(ValueError, match="not JSON compliant"):
        sign_document("orders", {"x": float("nan")}, KEY)
