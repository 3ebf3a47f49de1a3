"""A device's key: made once, kept from others, and told from every other."""

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import DataError, SignatureError
from fedrec.signing.device_keys import (
    create_device_key,
    load_device_key,
    public_pem,
    sign_statement,
    verify_statement,
)

PEM = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
STATEMENT = {"round": 3, "nonce": "0" * 32, "name": "ü"}


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def test_a_key_is_written_for_its_owner_alone_and_comes_back(tmp_path):
    path = tmp_path / "device.key"
    made = create_device_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_pem(load_device_key(path)) == public_pem(made)


def test_a_device_keeps_its_key_for_life(tmp_path):
    path = tmp_path / "device.key"
    made = create_device_key(path)
    with pytest.raises(DataError, match="one key for life"):
        create_device_key(path)
    assert public_pem(load_device_key(path)) == public_pem(made)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666])
def test_a_key_that_others_can_read_is_not_used(tmp_path, mode):
    path = tmp_path / "device.key"
    create_device_key(path)
    path.chmod(mode)
    with pytest.raises(DataError, match="chmod 600"):
        load_device_key(path)


def test_a_missing_damaged_or_other_key_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "device.key"
    with pytest.raises(DataError, match="fedrec device init"):
        load_device_key(path)
    for content in (b"", b"junk", create_device_key(tmp_path / "whole").private_bytes(*PEM)[:-60]):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(DataError, match="not a private key in PEM"):
            load_device_key(path)
    for other in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        path.write_bytes(other.private_bytes(*PEM))
        with pytest.raises(DataError, match="SECP384R1"):
            load_device_key(path)


def test_what_a_device_signs_is_verified_by_its_public_half(key):
    verify_statement("reply", STATEMENT, sign_statement("reply", STATEMENT, key), public_pem(key))


def test_no_flip_of_a_bit_of_a_signature_verifies(key):
    signature = bytes.fromhex(sign_statement("reply", STATEMENT, key))
    for place in range(len(signature)):
        altered = bytearray(signature)
        altered[place] ^= 1 << (place % 8)
        with pytest.raises(SignatureError, match="not signed by the enrolled key"):
            verify_statement("reply", STATEMENT, altered.hex(), public_pem(key))


@pytest.mark.parametrize("kind", ["card", "enrolment", "withdrawal"])
def test_a_statement_of_one_kind_is_none_of_another(key, kind):
    with pytest.raises(SignatureError):
        verify_statement(kind, STATEMENT, sign_statement("reply", STATEMENT, key), public_pem(key))


@pytest.mark.parametrize("field", sorted(STATEMENT))
def test_no_field_of_a_statement_can_be_another(key, field):
    signature = sign_statement("reply", STATEMENT, key)
    with pytest.raises(SignatureError):
        verify_statement("reply", {**STATEMENT, field: 4}, signature, public_pem(key))


def test_another_device_s_signature_does_not_verify(key):
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(SignatureError):
        verify_statement("reply", STATEMENT, sign_statement("reply", STATEMENT, other), public_pem(key))


@pytest.mark.parametrize("signature", ["", "zz", "00", "ü", "30" * 4000])
def test_what_is_no_signature_is_refused_and_nothing_else_is_raised(key, signature):
    with pytest.raises(SignatureError):
        verify_statement("reply", STATEMENT, signature, public_pem(key))


@pytest.mark.parametrize("public", ["", "junk", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_public_key_verifies_nothing(key, public):
    with pytest.raises(SignatureError):
        verify_statement("reply", STATEMENT, sign_statement("reply", STATEMENT, key), public)


def test_what_flower_lets_a_device_sign_is_no_statement(key):
    """SuperNode authentication signs a time stamp with the same key, by ECDSA with SHA-256."""
    stamp = key.sign(b"2026-11-22T20:00:00+00:00", ec.ECDSA(hashes.SHA256())).hex()
    with pytest.raises(SignatureError):
        verify_statement("reply", STATEMENT, stamp, public_pem(key))


def test_a_key_of_another_kind_is_to_be_enrolled_anew(key):
    signature = sign_statement("reply", STATEMENT, key)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    other = Ed25519PrivateKey.generate().public_key().public_bytes(PEM[0], form).decode()
    with pytest.raises(SignatureError, match="not an elliptic-curve key: enrol the device anew"):
        verify_statement("reply", STATEMENT, signature, other)
