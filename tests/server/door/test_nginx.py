"""nginx alone, before stubs of what is behind it: what it passes, what it changes, what it serves itself."""

import datetime
import http.server
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedrec.errors import ConfigError
from server.door.home import FLEET, ServerHome, ServerSettings
from server.door.nginx import FLEET_CALLS, configuration, nginx_command, write_configuration
from server.door.publications import Publications, load_signing_key
from server.door.setup import init
from tests.server.door.paths import FEDREC

pytestmark = pytest.mark.process


class Stub(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the header ``x-answer`` asks for, and tells what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        told = {"path": self.path, "length": len(body), "headers": {k.lower(): v for k, v in self.headers.items()}}
        self._answer(int(self.headers.get("x-answer") or 200), json.dumps(told).encode())

    def do_GET(self) -> None:
        self._answer(204 if self.headers.get("flwr-public-key") == "known" else 401, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def stub(home: ServerHome | None = None) -> Iterator[int]:
    """Serve on a free loopback port, with the SuperLink's certificate where a folder is given."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        if home is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(home.certificate("superlink"), home.certificate_key("superlink"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def door(tmp_path_factory) -> Iterator[tuple[ServerHome, httpx.Client]]:
    with stub() as port:  # for a port that is free
        settings = ServerSettings(host="127.0.0.1", listen="127.0.0.1", port=port, requests_per_second=1000)
    home = init(tmp_path_factory.mktemp("nginx") / "server", settings, datetime.datetime.now(datetime.UTC))
    with stub(home) as superlink, stub() as service:
        settings = replace(settings, superlink_port=superlink, door_port=service)
        write_configuration(home, settings)
        process = subprocess.Popen(nginx_command(home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        client = httpx.Client(base_url=settings.url, verify=ssl.create_default_context(cafile=str(home.authority)))
        try:
            _wait(client, process)
            yield home, client
        finally:
            client.close()
            process.terminate()
            process.communicate(timeout=20)


def _wait(client: httpx.Client, process: subprocess.Popen[str]) -> None:
    for _ in range(200):
        try:
            client.get("/")
        except httpx.ConnectError:
            if process.poll() is not None:
                pytest.fail(f"nginx ended: {process.communicate()[1]}")
            time.sleep(0.05)
        else:
            return
    pytest.fail("nginx does not listen")


@pytest.mark.fault
@pytest.mark.parametrize("call", ["pull-messages", "push-object"])
def test_b24_an_internal_error_behind_the_door_becomes_a_503_which_a_node_tries_again_after(door, call):
    _, client = door
    for status in (500, 502, 503, 504):
        answer = client.post(f"{FLEET}/{call}", headers={"x-answer": str(status), "flwr-public-key": "known"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 412])
def test_other_answers_pass_as_they_are(door, status):
    _, client = door
    answer = client.post(f"{FLEET}/pull-messages", headers={"x-answer": str(status)})
    assert answer.status_code == status
    assert answer.json()["path"] == f"{FLEET}/pull-messages"


@pytest.mark.parametrize("call", FLEET_CALLS)
def test_each_call_of_a_supernode_reaches_the_superlink(door, call):
    _, client = door
    assert client.post(f"{FLEET}/{call}", content=b"x" * 1000).json()["length"] == 1000


def test_addresses_of_devices_end_at_the_door(door):
    _, client = door
    answer = client.post(f"{FLEET}/pull-messages", headers={"x-forwarded-for": "203.0.113.9", "forwarded": "for=x"})
    told = answer.json()["headers"]
    assert told.get("x-forwarded-for", "") == ""
    assert "x-real-ip" not in told
    assert told["host"] == "localhost"


@pytest.mark.abuse
def test_b30_the_one_long_message_passes_for_known_keys_alone(door):
    _, client = door
    body = b"\0" * (15 << 20)
    assert client.post(f"{FLEET}/push-object", content=body).status_code == 401
    known = client.post(f"{FLEET}/push-object", content=body, headers={"flwr-public-key": "known"})
    assert (known.status_code, known.json()["length"]) == (200, len(body))
    too_long = client.post(
        f"{FLEET}/push-object", content=body + b"\0" * (2 << 20), headers={"flwr-public-key": "known"}
    )
    assert too_long.status_code == 413


def test_joining_and_leaving_reach_the_door_service(door):
    _, client = door
    for what in ("enroll", "withdraw"):
        assert client.post(f"{FEDREC}/{what}", json={}).json()["path"] == f"/{what}"
        assert client.get(f"{FEDREC}/{what}").status_code in (403, 404)


@pytest.mark.abuse
def test_somebody_who_tries_codes_is_slowed_down(door):
    _, client = door
    answers = [client.post(f"{FEDREC}/enroll", json={}).status_code for _ in range(60)]
    assert 503 in answers
    assert answers[0] == 200


def test_published_files_come_whole_and_in_parts(door, tmp_path):
    home, client = door
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 1000)
    publications = Publications(home.public, load_signing_key(home.signing_key))
    manifest = publications.publish("model", "d" * 64, {"a.bin": tmp_path / "a.bin"})
    path = f"{FEDREC}/public/files/{manifest.files['a.bin'].sha256}"
    assert client.get(path).content == (tmp_path / "a.bin").read_bytes()
    part = client.get(path, headers={"range": "bytes=100000-100009"})
    assert (part.status_code, part.content) == (206, (tmp_path / "a.bin").read_bytes()[100000:100010])
    assert client.get(f"{FEDREC}/public/model/1.json").status_code == 200
    assert client.get(f"{FEDREC}/public/model/2.json").status_code == 404
    for hidden in (".lock", "files/.lock", "model/", f"files/{'0' * 64}"):
        assert client.get(f"{FEDREC}/public/{hidden}").status_code == 404


def test_nothing_is_logged_of_who_asked(door):
    home, client = door
    client.get(f"{FEDREC}/public/orders.json")
    assert [path.name for path in home.logs.iterdir()] == ["nginx.log"]
    assert "127.0.0.1" not in (home.logs / "nginx.log").read_text()


@pytest.mark.abuse
def test_old_tls_is_refused(door):
    home, client = door
    context = ssl.create_default_context(cafile=str(home.authority))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(str(client.base_url), verify=context)


@pytest.mark.abuse
@pytest.mark.parametrize("path", ['/srv/a"b', "/srv/a;b", "/srv/a$b", "/srv/a{b", "/srv/a\nb"])
def test_a_folder_whose_name_would_be_a_setting_is_refused(path):
    with pytest.raises(ConfigError, match="choose a path"):
        write_configuration(ServerHome(Path(path)), ServerSettings(host="x"))


@pytest.mark.parametrize("field", ["host", "listen"])
def test_settings_that_would_be_more_than_an_address_are_refused(field):
    with pytest.raises(ConfigError, match=field):
        ServerSettings(**{"host": "x", field: "x; return 200"})


def test_an_ipv6_address_is_bracketed(home):
    assert "listen [::1]:8443 ssl" in configuration(home, ServerSettings(host="::1", listen="::1"))
    assert ServerSettings(host="::1").url == "https://[::1]:8443"
