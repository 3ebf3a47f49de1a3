"""Faults and abuse of the local service: full and read-only disks, no network, pages in a browser, other users."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from clients.device.settings import ApiSettings
from clients.local_store import LocalStore
from clients.service import device_pb2 as pb
from clients.service.address import read_token
from clients.service.client import ServiceError
from clients.service.device_pb2_grpc import DeviceStub
from fedrec.faults import ENVIRONMENT, Fault, FaultPlan, What, installed

CANARY = "canary-8f1d"


def refusal(call, *arguments, **options):
    with pytest.raises(ServiceError) as caught:
        call(*arguments, **options)
    return caught.value.code, str(caught.value)


def every_write(what):
    return FaultPlan(faults=(Fault(where="store.writing", what=what, every=True),))


@pytest.mark.fault
def test_c35_on_a_full_disk_no_event_is_kept_and_the_api_answers(client):
    client.record("item-0")
    with installed(every_write(What.DISK_FULL)):
        code, message = refusal(client.record, "item-1")
        assert code == "RESOURCE_EXHAUSTED"
        assert "the disk is full" in message
        assert client.recommend(k=1).recommendations[0].item == "item-1"
        status = client.status()
        assert not status.can_record
        assert any("is the disk full" in notice for notice in status.notices)
    assert client.record("item-1") == 2
    assert client.status().can_record


@pytest.mark.fault
def test_c35_a_commit_that_does_not_fit_leaves_no_half_event(client):
    plan = FaultPlan(faults=(Fault(where="store.committing", what=What.DISK_FULL),))
    with installed(plan):
        assert refusal(client.record, "item-1")[0] == "RESOURCE_EXHAUSTED"
    assert client.status().num_events == 0
    assert client.record("item-1") == 1


@pytest.mark.fault
def test_c36_on_a_read_only_file_system_recommendations_go_on_and_nothing_else(client):
    client.record("item-0")
    with installed(every_write(What.READ_ONLY)):
        for call in (lambda: client.record("item-1"), lambda: client.set_consent(True), client.forget):
            code, message = refusal(call)
            assert code == "FAILED_PRECONDITION"
            assert "read-only" in message
        assert client.recommend(k=1).recommendations[0].item == "item-1"
        assert client.export()["events"][0]["item"] == "item-0"
        assert client.privacy().state == pb.BUDGET_STATE_UNUSED
        assert not client.consent().granted


@pytest.mark.fault
def test_c42_the_owner_is_told_that_a_damaged_database_was_set_aside(start, home, settings):
    home.store.write_bytes(b"not a database" * 1000)
    client = start(home, settings)
    assert client.recommend(k=1).recommendations
    assert any("store.db.corrupt-1" in notice for notice in client.status().notices)


@pytest.mark.fault
def test_c37_a_trainer_that_is_killed_in_a_transaction_does_not_hold_up_the_api(client, home):
    plan = FaultPlan(faults=(Fault(where="store.committing", what=What.KILL),))
    code = (
        "import sys; from pathlib import Path; from clients.local_store import LocalStore; "
        "LocalStore.open(Path(sys.argv[1])).count('trained')"
    )
    trainer = subprocess.run(
        [sys.executable, "-c", code, home.store], env={**os.environ, ENVIRONMENT: plan.to_json()}, timeout=60
    )
    assert trainer.returncode == -9
    assert client.record("item-0") == 1
    assert client.recommend(k=1).recommendations[0].item == "item-1"
    assert not client.status().phases


@pytest.mark.abuse
def test_i90_a_web_page_is_not_answered_whatever_name_it_came_by(start, home, on_tcp):
    start(home, on_tcp)
    port = int(on_tcp.api.address.rpartition(":")[2])
    for host in ("rebound.example", "localhost", "127.0.0.1"):
        body = b"\0\0\0\0\0"
        request = (
            f"POST /fedrec.device.v1.Device/Export HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}\r\n"
            f"Content-Type: application/grpc-web+proto\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=10) as page:
            page.sendall(request.encode() + body)
            answered = b""
            while piece := page.recv(4096):
                answered += piece
        assert b"200" not in answered
        assert b"fedrec-device" not in answered


@pytest.mark.abuse
def test_i90_a_call_with_an_origin_is_refused_even_with_the_token(start, home, on_tcp):
    start(home, on_tcp)
    metadata = [("authorization", f"Bearer {read_token(home.run / 'api.token')}"), ("origin", "http://localhost")]
    with grpc.insecure_channel(on_tcp.api.address) as channel, pytest.raises(grpc.RpcError) as caught:
        DeviceStub(channel).Consent(pb.ConsentRequest(grant=True), timeout=5, metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with LocalStore.open(home.store) as store:
        assert store.consent().version == 0


@pytest.mark.abuse
def test_i90_metrics_are_not_told_to_a_page_that_came_by_another_name(start, home, with_metrics):
    start(home, with_metrics)
    url = f"http://127.0.0.1:{with_metrics.metrics.port + 1}/metrics"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "rebound.example"}), timeout=10)


CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.mark.abuse
def test_i90_another_user_of_the_machine_cannot_open_the_socket_unless_in_its_group(start, home, settings):
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o755)
        start(home, replace(settings, api=ApiSettings(address=f"unix:{folder}/api.sock")))

        def connects(**who):
            ran = subprocess.run(["/usr/bin/python3", "-c", CONNECT, f"{folder}/api.sock"], capture_output=True, **who)
            return ran.returncode == 0 or "PermissionError" not in ran.stderr.decode()

        assert not connects(user=65534, group=65534, extra_groups=())
        assert connects(user=65534, group=65534, extra_groups=(os.getegid(),))
    finally:
        shutil.rmtree(folder)


@pytest.mark.abuse
def test_i90_a_user_of_the_device_is_not_reached_under_another_name(client):
    client.record("item-0", user="me")
    for name in ("you", "ME", "me ", "me\0", "*"):
        assert refusal(client.recommend, user=name)[0] == "NOT_FOUND"


@pytest.mark.abuse
def test_f74_a_scrape_of_one_device_tells_no_item_no_user_and_no_count_of_events(start, home, with_metrics):
    client = start(home, with_metrics)
    client.record(CANARY, keep_unknown=True)
    client.recommend(k=3, exclude=[CANARY])
    with pytest.raises(ServiceError):
        client.record(CANARY, user=CANARY)
    with grpc.insecure_channel(client._where, options=(("grpc.default_authority", "localhost"),)) as channel:
        call = channel.unary_unary(f"/fedrec.device.v1.Device/{CANARY}")
        with pytest.raises(grpc.RpcError):
            call(b"", timeout=5)
    url = f"http://127.0.0.1:{with_metrics.metrics.port + 1}/metrics"
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    assert 'fedrec_device_api_calls_total{method="Recommend",status="OK"} 1.0' in text
    assert 'fedrec_device_api_calls_total{method="RecordFeedback",status="NOT_FOUND"} 1.0' in text
    assert CANARY not in text
    labels = {part.split("{")[1].split("=")[0] for part in text.splitlines() if "{" in part}
    assert labels <= {"method", "le", "status"}


@pytest.mark.abuse
def test_f74_metrics_are_off_and_not_even_loaded_unless_the_owner_switches_them_on(settings):
    assert settings.metrics.port == 0
    code = "import sys, clients.service.server; print(sys.modules.keys() & {'prometheus_client', 'torch', 'flwr'})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "set()"
