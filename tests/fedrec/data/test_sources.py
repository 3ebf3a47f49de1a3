import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fedrec.data import sources
from fedrec.data.sources import download, pip_download, unpack
from fedrec.errors import DataError

BODY = b"ten bytes!"


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/good": 200, "/moved": 302}.get(self.path, 404))
        if self.path == "/moved":
            self.send_header("Location", "/good")
        self.end_headers()
        if self.path == "/good":
            self.wfile.write(BODY)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(monkeypatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", ["good", "moved"])
def test_a_page_is_written_to_a_file(web, tmp_path, page):
    download(f"{web}/{page}", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_page_that_is_not_there_is_named(web, tmp_path):
    with pytest.raises(DataError, match=r"/gone cannot be had \(HTTPStatusError.*404"):
        download(f"{web}/gone", tmp_path / "x")


def test_a_page_beyond_the_limit_is_given_up(web, tmp_path):
    with pytest.raises(DataError, match="sends more than 9 bytes"):
        download(f"{web}/good", tmp_path / "x", limit=9)


def test_a_slow_page_is_given_up(web, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", -1.0)
    with pytest.raises(DataError, match="is too slow"):
        download(f"{web}/good", tmp_path / "x")


def test_a_machine_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot be had \(ConnectError"):
        download("http://127.0.0.1:9/x", tmp_path / "x")


@pytest.fixture
def archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as members:
        members.writestr("in/one.txt", "1")
        members.writestr("in/two.txt", "22")
        members.writestr("../evil.txt", "out")
        members.writestr("in/../../evil.txt", "out")
    return tmp_path / "a.zip"


def test_only_the_named_members_leave_an_archive(archive, tmp_path):
    (tmp_path / "to").mkdir()
    unpack(archive, "in/", ("one.txt",), tmp_path / "to")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.txt"))] == ["to/one.txt"]


def test_a_member_that_is_missing_too_large_or_damaged_is_named(archive, tmp_path):
    with pytest.raises(DataError, match=r"a\.zip lacks a file: .*three\.txt"):
        unpack(archive, "in/", ("three.txt",), tmp_path)
    with pytest.raises(DataError, match=r"two\.txt in a\.zip is larger than 1 bytes"):
        unpack(archive, "in/", ("two.txt",), tmp_path, limit=1)
    (tmp_path / "b.zip").write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DataError, match=r"b\.zip is damaged"):
        unpack(tmp_path / "b.zip", "in/", ("one.txt",), tmp_path)


def test_pip_is_asked_for_one_wheel_and_no_dependency(tmp_path, monkeypatch):
    asked = []

    def run(command, **_):
        asked.extend(command)
        (tmp_path / "x-1-py3-none-any.whl").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.subprocess, "run", run)
    assert pip_download("x==1", tmp_path) == tmp_path / "x-1-py3-none-any.whl"
    assert {"download", "x==1", "--no-deps", "--only-binary"} <= set(asked)


@pytest.mark.parametrize("stderr", ["WARNING: slow\nERROR: no such thing", "ERROR: no such thing\n\n"])
def test_what_pip_says_is_passed_on_in_one_line(tmp_path, monkeypatch, stderr):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(sources.subprocess, "run", run)
    with pytest.raises(DataError, match=r"pip could not download x==1 \(ERROR: no such thing\)$"):
        pip_download("x==1", tmp_path)


def test_a_pip_that_hangs_is_given_up(tmp_path, monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(sources.subprocess, "run", run)
    with pytest.raises(DataError, match="pip took longer than"):
        pip_download("x==1", tmp_path)
