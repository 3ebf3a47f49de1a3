"""The service as a process: health, reflection, its socket, one of it at a time."""

import os
import socket
import stat
from contextlib import ExitStack, suppress
from dataclasses import replace

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from clients.device.home import DeviceHome
from clients.device.settings import ApiSettings
from clients.local_store import LocalStore
from clients.service import example
from clients.service.__main__ import main
from clients.service.client import DeviceClient, ServiceNotRunningError
from clients.service.server import MOST_CONNECTIONS, SERVICE, running
from fedrec.errors import ConfigError, DataError


@pytest.fixture
def channel(client):
    with grpc.insecure_channel(client._where, options=(("grpc.default_authority", "localhost"),)) as opened:
        yield opened


def test_health_is_told_of_the_whole_and_of_the_service(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="another"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_is_not_watched_so_that_no_call_is_held_open(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Watch(health_pb2.HealthCheckRequest(), timeout=5))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_tells_the_services_and_their_messages(channel):
    reflected = ProtoReflectionDescriptorDatabase(channel)
    assert set(reflected.get_services()) >= {SERVICE, "grpc.health.v1.Health"}
    service = DescriptorPool(reflected).FindServiceByName(SERVICE)
    assert [method.name for method in service.methods] == [
        *("Recommend", "RecordFeedback", "Status", "Consent", "Export", "Forget", "Privacy")
    ]


def test_the_socket_is_for_owner_and_group_and_goes_with_the_service(home, settings):
    with running(home, settings) as address:
        mode = address.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
        assert stat.S_IMODE(home.run.stat().st_mode) == 0o750
    assert not home.socket.exists()


def test_the_socket_is_given_to_the_group_of_the_settings(home, settings):
    if os.geteuid() != 0:
        pytest.skip("only root may give files to any group")
    with running(home, replace(settings, api=ApiSettings(group="nogroup"))) as address:
        assert address.socket.group() == "nogroup"
        assert home.run.group() == "nogroup"


def test_a_group_that_does_not_exist_is_named(home, settings):
    with (
        pytest.raises(ConfigError, match="no-such-group"),
        running(home, replace(settings, api=ApiSettings(group="no-such-group"))),
    ):
        pass


def test_a_second_service_of_the_same_device_is_refused(home, settings, client):
    with pytest.raises(DataError, match=f"process {os.getpid()}"), running(home, settings):
        pass


def test_as_a_program_a_second_service_says_so_in_one_line_and_leaves_with_2(home, client, capsys):
    assert main([str(home.path)]) == 2
    assert f"is already run by process {os.getpid()}" in capsys.readouterr().err
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_socket_that_was_left_behind_does_not_hinder_the_next_start(home, settings, start):
    home.run.mkdir()

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home.socket))
    assert start(home, settings).recommend(k=1).recommendations


def test_a_port_that_is_taken_is_named(home, on_tcp, settings, start, tmp_path):
    start(home, on_tcp)
    other = replace(on_tcp, key="device-2")

    beside = DeviceHome(tmp_path / "other")
    beside.path.mkdir()
    LocalStore.create(beside.store).close()
    with pytest.raises(ConfigError, match=on_tcp.api.address), running(beside, other):
        pass


def test_where_no_service_runs_the_client_says_how_to_start_it(home):
    with pytest.raises(ServiceNotRunningError, match="fedrec device run"):
        DeviceClient.of(home)


def test_a_service_that_has_died_is_told_from_one_that_refuses(home, settings):
    with running(home, settings) as address:
        client = DeviceClient(address, seconds=2)
    with pytest.raises(ServiceNotRunningError, match="fedrec device run"), client:
        client.recommend()


def test_the_example_client_works_as_it_stands(client, capsys):
    example.main(client._where)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("1. ITEM-0: ")
    assert last == "then: ITEM-1, ITEM-2, ITEM-3, ITEM-4, ITEM-5"


@pytest.mark.abuse
def test_i90_somebody_who_opens_all_connections_is_cut_off_and_others_are_served_afterwards(home, settings):
    with running(home, settings) as address, ExitStack() as stack:

        def hoard():
            """Open a connection as a client begins one (RFC 9113, 3.4); return what is answered at once."""
            hog = stack.enter_context(socket.socket(socket.AF_UNIX))
            hog.settimeout(30)
            hog.connect(str(address.socket))
            hog.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return hog.recv(1)

        assert all(hoard() for _ in range(MOST_CONNECTIONS))
        with suppress(ConnectionError):
            assert hoard() == b""
        stack.close()
        with grpc.insecure_channel(address.target) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
