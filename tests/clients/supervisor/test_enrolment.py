import json

import pytest

from clients.supervisor.enrolment import enrol, withdraw
from fedrec.errors import EnrolmentError
from fedrec.signing.device_keys import load_device_key, public_pem, verify_statement

pytestmark = pytest.mark.abuse

SIGNER = "ab" * 32


@pytest.fixture
def door(server, authority):
    """A door that keeps what it was sent and says ``answer``."""
    said = {"status": 200, "answer": {"key": "kitchen", "signer": SIGNER, "owner": "me"}}

    def answer(request):
        said["path"] = request.path
        said["body"] = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        content = said["answer"] if isinstance(said["answer"], bytes) else json.dumps(said["answer"]).encode()
        request.send_response_only(said["status"])
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    server.answer = answer
    return said, server.link(authority.path, "/v1/fleet/fedrec")


def test_a_device_proves_that_it_has_the_key_that_it_enrols(door, device):
    said, link = door
    key = load_device_key(device.key)
    enrolled = enrol(link, "code", "kitchen", key)
    assert (enrolled.signer, enrolled.owner) == (SIGNER, "me")
    assert said["path"] == "/v1/fleet/fedrec/enroll"
    assert said["body"]["public_key"] == public_pem(key)
    verify_statement("enrolment", {"code": "code", "key": "kitchen"}, said["body"]["proof"], public_pem(key))


def test_the_server_s_reason_is_told(door, device):
    said, link = door
    said.update(status=403, answer={"error": "the code has expired"})
    with pytest.raises(EnrolmentError, match="the code has expired"):
        enrol(link, "code", "kitchen", load_device_key(device.key))


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[1]",
        {"key": "kitchen"},
        {"key": "other", "signer": SIGNER, "owner": "me"},
        {"key": "kitchen", "signer": "ab", "owner": "me"},
    ],
)
def test_an_answer_that_makes_no_sense_enrols_nobody(door, device, answer):
    said, link = door
    said["answer"] = answer
    with pytest.raises(EnrolmentError):
        enrol(link, "code", "kitchen", load_device_key(device.key))


def test_leaving_is_signed(door, device):
    said, link = door
    key = load_device_key(device.key)
    withdraw(link, "kitchen", key)
    assert said["path"] == "/v1/fleet/fedrec/withdraw"
    verify_statement("withdrawal", {"key": "kitchen"}, said["body"]["proof"], public_pem(key))
