"""A private certificate authority for one deployment (P-384), and the certificates of its server (P-256; RFC 5280).

A server signs a handshake a connection, for strangers too: on P-256 that costs a tenth.
"""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedrec.errors import DataError
from fedrec.runs.atomic import write_atomically

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
"""Of a server's certificate: the longest that all common TLS clients accept."""
CLOCK_SKEW = datetime.timedelta(days=1)
"""Certificates begin that much earlier: boards without a clock battery run behind."""


def create_authority(key_path: Path, certificate_path: Path, name: str, now: datetime.datetime) -> None:
    """Make an authority that may sign servers' certificates but no further authority; ``DataError`` if there is one."""
    if key_path.exists():
        raise DataError(f"{key_path} exists: a deployment keeps its authority, or every device has to be told anew")
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fedrec authority of {name}"[:64])])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    _write_key(key_path, key)
    write_atomically(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def issue_certificate(
    authority_key: Path,
    authority: Path,
    key_path: Path,
    certificate_path: Path,
    hosts: Sequence[str],
    now: datetime.datetime,
    days: int = CERTIFICATE_DAYS,
) -> None:
    """Make a server's key and its certificate for ``hosts``, names or addresses, the first of which is its subject."""
    signing, issuer = _load_key(authority_key), load_certificate(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now, days)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .sign(signing, hashes.SHA384())
    )
    _write_key(key_path, key)
    # The whole chain, as servers send it: the authority itself is what devices hold, so this is one certificate.
    write_atomically(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate; ``DataError`` if it is missing or damaged."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: make the server with 'fedrec server init'") from error
    except ValueError as error:
        raise DataError(f"{path} is no certificate in PEM: restore it from a backup") from error


def days_left(path: Path, now: datetime.datetime) -> int:
    """Return for how many whole days a certificate is still valid; negative if it has expired."""
    return (load_certificate(path).not_valid_after_utc - now).days


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(path, text, mode=0o600)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: it is needed to sign certificates; restore it") from error
    except ValueError as error:
        raise DataError(f"{path} is no private key in PEM: restore it from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DataError(f"{path} is not an elliptic-curve key: restore it from a backup")
    return key
