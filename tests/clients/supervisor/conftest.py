"""A device in a folder, a server's signing key, and TLS servers on loopback that say what a test wants them to."""

import datetime
import ipaddress
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings, EligibilitySettings, ServerSettings
from clients.device.setup import make_folders
from clients.local_store import LocalStore
from clients.supervisor.link import Link
from clients.supervisor.setup import finish
from fedrec.signing.device_keys import create_device_key

NOW = datetime.datetime.now(datetime.UTC)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class Authority:
    """A certificate authority of a test's own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "ca.crt"

    def issue(self, name: str, *, host: str = "127.0.0.1", ended: bool = False) -> tuple[Path, Path]:
        """Return the files of a certificate and its key, which ended yesterday if ``ended``."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        after = NOW - datetime.timedelta(days=1) if ended else NOW + datetime.timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=2))
            .not_valid_after(after)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return _write(self.folder, name, certificate, key)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _write(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    crt, pem = folder / f"{name}.crt", folder / f"{name}.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, bare))
    return crt, pem


def make_authority(folder: Path) -> Authority:
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name("a test's own"))
        .issuer_name(_name("a test's own"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=2))
        .not_valid_after(NOW + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder, "ca", certificate, key)
    return Authority(key, certificate, folder)


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("other-authority"))


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class TlsServer:
    """An HTTPS server that hands each request to ``answer`` and remembers what was asked."""

    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)
    answer: Answer | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def link(self, authority: Path, path: str = "/public", **options: Any) -> Link:
        return Link(f"https://{self.address}{path}", authority, **options)


def say(status: int, content: bytes = b"", **headers: str) -> Answer:
    """Return an answer that is always the same."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


@contextmanager
def tls_server(
    certificate: tuple[Path, Path], answer: Answer | None = None, *, newest: ssl.TLSVersion | None = None
) -> Iterator[TlsServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ssl.SSLError, ConnectionError):
                self.close_connection = True

        def do_GET(self) -> None:
            told.asked.append((self.command, self.path))
            (told.answer or say(404))(self)

        do_POST = do_GET  # noqa: N815  # the standard library's name

        def log_message(self, *_: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if newest is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
    server = _Quiet(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    told = TlsServer(server.server_address[1], answer=answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(authority: Authority) -> Iterator[TlsServer]:
    """A server whose certificate the authority signed."""
    with tls_server(authority.issue("server")) as running:
        yield running


@pytest.fixture(scope="session")
def signing_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def made_device(tmp_path_factory, authority: Authority, signing_key: Ed25519PrivateKey) -> DeviceHome:
    """A device that consents, made without asking a server; tests take copies of it."""
    home = DeviceHome(tmp_path_factory.mktemp("made") / "device")
    make_folders(home)
    create_device_key(home.key)
    home.authority.write_bytes(authority.path.read_bytes())
    home.signer.write_text(signing_key.public_key().public_bytes_raw().hex())
    settings = DeviceSettings(key="device", server=ServerSettings(address="127.0.0.1:9"))
    finish(home, settings, policy="consent = true\n")
    with LocalStore.open(home.store) as store:
        store.set_consent(True)
    return home


@pytest.fixture
def make_device(tmp_path: Path, made_device: DeviceHome) -> Callable[..., DeviceHome]:
    """Make devices that consent, with settings of their own."""

    def make(name: str = "device", *, address: str = "127.0.0.1:9", **sections: Any) -> DeviceHome:
        home = DeviceHome(tmp_path / name)
        shutil.copytree(made_device.path, home.path)
        sections.setdefault("eligibility", EligibilitySettings.whenever_asked())
        sections.setdefault("server", ServerSettings(address=address))
        DeviceSettings(key=name, **sections).save(home.settings)
        return home

    return make


@pytest.fixture
def device(make_device: Callable[..., DeviceHome]) -> DeviceHome:
    return make_device()


@pytest.fixture(scope="session")
def tls() -> SimpleNamespace:
    """What tests of the link build servers of."""
    return SimpleNamespace(server=tls_server, say=say)
