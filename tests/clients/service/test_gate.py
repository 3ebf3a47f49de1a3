"""Who is let through to the local service, what is too much, and what an error becomes."""

import errno
import logging
import sqlite3
import threading
import time
from contextlib import suppress

import grpc
import pytest

from clients.local_store import StoreUnwritableError
from clients.service import device_pb2 as pb
from clients.service import gate
from clients.service.address import Address, make_token, read_token
from clients.service.client import DeviceClient, ServiceError
from clients.service.device_pb2_grpc import DeviceStub
from clients.service.gate import Gate, RefusedError, status_of
from fedrec.errors import ConfigError, DataError


@pytest.fixture
def stub(client):
    """The service without the client's manners."""
    with grpc.insecure_channel(client._where, options=(("grpc.default_authority", "localhost"),)) as channel:
        yield DeviceStub(channel)


CANARY = "item-" + "canary"  # not as it stands in this file, which a traceback quotes


def code_of(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code()


def test_a_request_of_more_than_64_kb_is_refused(stub):
    request = pb.RecommendRequest(exclude=["x" * 1000] * 70)
    assert code_of(stub.Recommend, request, timeout=5) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_large_metadata_is_refused(stub):
    call = [("x-junk", "y" * 50_000)]
    assert code_of(stub.Status, pb.StatusRequest(), timeout=5, metadata=call) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_whose_deadline_has_passed_is_not_answered(stub, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr("clients.local_store.LocalStore.export", lambda _: {"waited": go_on.wait(60)})
    code = code_of(lambda: list(stub.Export(pb.ExportRequest(), timeout=0.1)))
    go_on.set()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_work_is_not_begun_for_a_caller_who_has_gone():
    class Gone:
        def is_active(self):
            return False

        def abort(self, code, message):
            raise RefusedError(code, message)

    called = []
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: called.append(request))
    wrapped = Gate().intercept_service(lambda _: handler, type("Call", (), {"method": "/x/Status"}))
    with pytest.raises(RefusedError, match="deadline"):
        wrapped.unary_unary(pb.StatusRequest(), Gone())
    assert called == []


def test_more_streams_than_there_are_threads_for_are_refused_and_short_calls_still_answered(stub, client, monkeypatch):
    reading, go_on = threading.Semaphore(0), threading.Event()

    def export(*_):
        reading.release()
        go_on.wait(30)
        return {}

    monkeypatch.setattr("clients.local_store.LocalStore.export", export)
    under_way = [stub.Export(pb.ExportRequest(), timeout=30) for _ in range(gate.STREAMS)]
    for _ in under_way:
        assert reading.acquire(timeout=30)
    assert code_of(lambda: list(stub.Export(pb.ExportRequest(), timeout=5))) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.recommend(k=1).recommendations
    go_on.set()
    assert [b"".join(piece.content for piece in call) for call in under_way] == [b"{}"] * gate.STREAMS
    assert client.export() == {}


def test_a_stream_that_nobody_reads_is_cut(stub, monkeypatch):
    begun = threading.Semaphore(0)

    def export(*_):
        begun.release()
        return {"x": "y" * (32 << 20)}  # more than what a transport holds for a reader who does not read

    def slot_is_free():
        with suppress(grpc.RpcError):
            return bool(list(stub.Export(pb.ExportRequest(), timeout=30)))
        return False

    monkeypatch.setattr("clients.local_store.LocalStore.export", export)
    monkeypatch.setattr(gate, "STREAM_SECONDS", 0.05)
    unread = [stub.Export(pb.ExportRequest(), timeout=300) for _ in range(gate.STREAMS)]
    for _ in unread:
        assert begun.acquire(timeout=60)
    monkeypatch.setattr(gate, "STREAM_SECONDS", 60.0)
    last = time.monotonic() + 60
    while not slot_is_free():
        assert time.monotonic() < last, "streams that nobody reads hold their threads"
    assert [call.cancel() for call in unread]


def test_on_tcp_every_call_needs_the_token_of_a_file_for_the_owner_alone(start, home, on_tcp):
    client = start(home, on_tcp)
    token = home.run / "api.token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert client.recommend(k=1).recommendations
    with grpc.insecure_channel(on_tcp.api.address) as channel:
        stub = DeviceStub(channel)
        for metadata in ((), [("authorization", "Bearer " + "0" * 64)], [("authorization", read_token(token))]):
            code = code_of(stub.Status, pb.StatusRequest(), timeout=5, metadata=metadata)
            assert code is grpc.StatusCode.UNAUTHENTICATED


def test_the_token_changes_with_every_start(start, home, on_tcp, settings):
    start(home, on_tcp)
    first = read_token(home.run / "api.token")

    assert make_token(home.run / "api.token") != first


def test_a_token_that_others_may_read_is_not_used(start, home, on_tcp):
    start(home, on_tcp)
    (home.run / "api.token").chmod(0o644)
    with pytest.raises(DataError, match="chmod 600"):
        DeviceClient.of(home)


@pytest.mark.parametrize("address", ["0.0.0.0:5000", "192.168.1.2:5000", "[::]:5000", "host:1", "127.0.0.1:99999"])
def test_the_service_listens_on_no_other_address_than_loopback(home, address):
    with pytest.raises(ConfigError, match="Unix socket or on 127"):
        Address.of(home, address)


def test_a_socket_with_too_long_a_path_is_refused_with_a_shorter_one_named(home):
    with pytest.raises(ConfigError, match="too long for a Unix socket"):
        Address.of(home, "unix:" + "x" * 120)


def disk_error(number):
    error = StoreUnwritableError("store.db cannot be written")
    error.__cause__ = OSError(number, "")
    return error


def sqlite_error(code):
    error = sqlite3.OperationalError("no text of this kind leaves")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (disk_error(errno.ENOSPC), "RESOURCE_EXHAUSTED", "the disk is full"),
        (OSError(errno.ENOSPC, ""), "RESOURCE_EXHAUSTED", "the disk is full"),
        (sqlite_error(sqlite3.SQLITE_FULL), "RESOURCE_EXHAUSTED", "the disk is full"),
        (disk_error(errno.EROFS), "FAILED_PRECONDITION", "read-only"),
        (sqlite_error(sqlite3.SQLITE_READONLY), "FAILED_PRECONDITION", "read-only"),
        (sqlite_error(sqlite3.SQLITE_BUSY), "UNAVAILABLE", ""),
        (DataError("no catalogue: fetch it"), "FAILED_PRECONDITION", "no catalogue: fetch it"),
        (RefusedError(grpc.StatusCode.NOT_FOUND, "no such thing"), "NOT_FOUND", "no such thing"),
    ],
)
def test_an_error_becomes_a_status_and_a_sentence(error, code, words):
    found, message = status_of(error)
    assert found.name == code
    assert words in message


def test_a_defect_is_logged_by_where_it_is_and_without_its_text(client, monkeypatch, caplog):
    def broken(*_, **__):
        raise KeyError(CANARY)

    monkeypatch.setattr("clients.inference.recommender.Recommender.recommend", broken)
    with caplog.at_level(logging.DEBUG), pytest.raises(ServiceError) as caught:
        client.recommend(user="me", exclude=[CANARY])
    assert caught.value.code == "INTERNAL"
    assert CANARY not in caplog.text + str(caught.value)
    assert "KeyError" in caplog.text
    assert "in broken" in caplog.text


def test_nothing_of_a_call_is_logged(client, caplog):
    with caplog.at_level(logging.DEBUG):
        client.record("item-7", user="me")
        client.recommend(user="me", exclude=[CANARY], explain=True)
        with suppress(ServiceError):
            client.record(CANARY)
    assert "item-" not in caplog.text


def test_unknown_methods_are_told_from_known_ones(client):
    with grpc.insecure_channel(client._where, options=(("grpc.default_authority", "localhost"),)) as channel:
        call = channel.unary_unary("/fedrec.device.v1.Device/Nothing")
        assert code_of(call, b"", timeout=5) is grpc.StatusCode.UNIMPLEMENTED
