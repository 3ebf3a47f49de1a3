"""The private authority and its certificates, judged by Python's own TLS."""

import datetime
import ssl

import pytest
from cryptography import x509

from fedrec.errors import DataError
from server.door.authority import create_authority, days_left, issue_certificate, load_certificate

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def issued(tmp_path):
    """An authority and a certificate for two hosts, by name of the file."""
    create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "fedrec.example", NOW)

    def issue(hosts, now=NOW, name="server"):
        paths = (tmp_path / f"{name}.key", tmp_path / f"{name}.crt")
        issue_certificate(tmp_path / "ca.key", tmp_path / "ca.crt", *paths, hosts, now)
        return paths

    return issue


def shaken(authority, key, certificate, host):
    """Shake hands in memory; return the version of TLS that was agreed on."""
    there, here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(authority))
    there.load_cert_chain(certificate, key)
    to_there, to_here = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = there.wrap_bio(to_there, to_here, server_side=True)
    client = here.wrap_bio(to_here, to_there, server_hostname=host)
    pending = [client, server]
    while pending:
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
    return client.version()


@pytest.mark.parametrize("host", ["fedrec.example", "192.0.2.7", "2001:db8::7"])
def test_a_certificate_is_good_for_each_of_its_hosts(issued, tmp_path, host):
    key, certificate = issued(("fedrec.example", "192.0.2.7", "2001:db8::7"))
    assert shaken(tmp_path / "ca.crt", key, certificate, host) == "TLSv1.3"


@pytest.mark.abuse
def test_a_certificate_is_no_good_for_another_host_nor_under_another_authority(issued, tmp_path):
    key, certificate = issued(("fedrec.example",))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shaken(tmp_path / "ca.crt", key, certificate, "other.example")
    create_authority(tmp_path / "other.key", tmp_path / "other.crt", "fedrec.example", NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(tmp_path / "other.crt", key, certificate, "fedrec.example")


@pytest.mark.abuse
def test_an_expired_certificate_is_refused(issued, tmp_path):
    key, certificate = issued(("fedrec.example",), NOW - datetime.timedelta(days=1000))
    assert days_left(certificate, NOW) < 0
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shaken(tmp_path / "ca.crt", key, certificate, "fedrec.example")


@pytest.mark.abuse
def test_a_server_s_certificate_cannot_sign_another(issued, tmp_path):
    key, certificate = issued(("fedrec.example",))
    forged = (tmp_path / "forged.key", tmp_path / "forged.crt")
    issue_certificate(key, certificate, *forged, ("bank.example",), NOW)
    chain = tmp_path / "chain.crt"
    chain.write_bytes(forged[1].read_bytes() + certificate.read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(tmp_path / "ca.crt", forged[0], chain, "bank.example")


def test_keys_are_their_owner_s_alone_and_certificates_are_not(issued, tmp_path):
    key, certificate = issued(("fedrec.example",))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "ca.key", key, certificate)}
    assert modes == {"ca.key": 0o600, "server.key": 0o600, "server.crt": 0o644}


def test_an_authority_is_made_once_and_lasts_ten_years(issued, tmp_path):
    with pytest.raises(DataError, match="exists"):
        create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "again", NOW)
    authority = load_certificate(tmp_path / "ca.crt")
    assert (authority.not_valid_after_utc - NOW).days in (3649, 3650)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"ca\.crt does not exist"):
        load_certificate(tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_text("nonsense")
    with pytest.raises(DataError, match="no certificate"):
        load_certificate(tmp_path / "ca.crt")
    create_authority(tmp_path / "x.key", tmp_path / "x.crt", "x", NOW)
    for text, word in ((None, "does not exist"), ("nonsense", "no private key")):
        key = tmp_path / "ca.key"
        if text:
            key.write_text(text)
        with pytest.raises(DataError, match=word):
            issue_certificate(key, tmp_path / "x.crt", tmp_path / "k", tmp_path / "c", ("h",), NOW)
