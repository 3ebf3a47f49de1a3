"""The door service: who joins, who leaves, and who may send a long body."""

import asyncio
import base64
import datetime
import os
from dataclasses import replace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.signing.device_keys import public_pem, sign_statement
from server.door.enrolments import Enrolments
from server.door.flower import SuperLinkError
from server.door.metrics import DoorMetrics, coarse, last_round
from server.door.service import MAX_BODY, Door, make_service

NOW = 1_000_000.0


class Nodes:
    """A SuperLink's list of keys that can be unreachable."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.down = False

    def register(self, key: str, public_key: str) -> None:
        self._check()
        self.keys[public_key] = key

    def unregister(self, public_key: str) -> None:
        self._check()
        self.keys.pop(public_key, None)

    def _check(self) -> None:
        if self.down:
            raise SuperLinkError("the SuperLink does not answer")


class Client:
    """Asks the service without a socket."""

    def __init__(self, service: Any) -> None:
        self.transport = httpx.ASGITransport(service)

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self._ask("POST", path, **request)

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self._ask("GET", path, **request)

    def _ask(self, *what: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://door") as client:
                return await client.request(*what, **request)

        return asyncio.run(ask())


@pytest.fixture
def door(tmp_path):
    enrolments = Enrolments.create(tmp_path / "enrolments.db")
    return Door(
        enrolments=enrolments, nodes=Nodes(), signer="ab" * 32, quota=3, metrics=DoorMetrics(), clock=lambda: NOW
    )


@pytest.fixture
def client(door):
    return Client(make_service(door))


@pytest.fixture
def code(door):
    return door.enrolments.issue("ada", 3, NOW + 60, NOW, 3)


def key():
    return ec.generate_private_key(ec.SECP384R1())


def test_a_device_joins_and_is_told_whom_to_trust(door, client, code, joining):
    mine = key()
    answer = client.post("/enroll", json=joining(code, "kitchen", mine))
    assert (answer.status_code, answer.json()) == (200, {"key": "kitchen", "signer": "ab" * 32, "owner": "ada"})
    assert door.nodes.keys == {public_pem(mine): "kitchen"}


@pytest.mark.abuse
def test_whoever_does_not_hold_the_key_cannot_join_with_it(door, client, code, joining):
    asked = joining(code, "kitchen", key()) | {"public_key": public_pem(key())}
    answer = client.post("/enroll", json=asked)
    assert answer.status_code == 403
    assert "not signed" in answer.json()["error"]
    assert door.enrolments.devices() == []


@pytest.mark.abuse
def test_a_proof_for_one_name_or_code_is_none_for_another(client, code, joining):
    asked = joining(code, "kitchen", key())
    assert client.post("/enroll", json=asked | {"key": "cellar"}).status_code == 403
    assert client.post("/enroll", json=asked | {"code": "0" * 26}).status_code == 403


def test_refusals_have_the_status_that_a_device_acts_on(door, client, code, joining):
    assert client.post("/enroll", json=joining("0" * 26, "a", key())).status_code == 403
    assert client.post("/enroll", json=joining(code, "a", key())).status_code == 200
    assert client.post("/enroll", json=joining(code, "a", key())).status_code == 409
    assert client.post("/enroll", json=joining(code, "b", key())).status_code == 200
    door.enrolments.issue("bob", 1, NOW + 60, NOW)
    for body in (b"", b"[]", b"null", b'{"code": 1}', b"\xff\xfe", b"{" * 5000):
        answer = client.post("/enroll", content=body)
        assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert client.post("/enroll", content=b"x" * (MAX_BODY + 1)).status_code == 413


def test_while_the_superlink_is_down_a_device_is_told_to_come_again_and_loses_nothing(door, client, code, joining):
    asked = joining(code, "kitchen", key())
    door.nodes.down = True
    assert client.post("/enroll", json=asked).status_code == 503
    door.nodes.down = False
    assert client.post("/enroll", json=asked).status_code == 200
    assert door.enrolments.open_places(NOW) == 2


def test_a_device_leaves_by_its_own_signature_alone(door, client, code, joining):
    mine = key()
    client.post("/enroll", json=joining(code, "kitchen", mine))
    forged = {"key": "kitchen", "proof": sign_statement("withdrawal", {"key": "kitchen"}, key())}
    assert client.post("/withdraw", json=forged).status_code == 403
    signed = {"key": "kitchen", "proof": sign_statement("withdrawal", {"key": "kitchen"}, mine)}
    assert client.post("/withdraw", json=signed).json() == {"key": "kitchen", "withdrawn": True}
    assert door.nodes.keys == {}
    assert door.enrolments.device("kitchen").owner == ""
    assert client.post("/withdraw", json=signed).status_code == 200
    assert client.post("/withdraw", json=signed | {"key": "nobody"}).status_code == 403


def headers(private: ec.EllipticCurvePrivateKey, seconds: float, public: str | None = None) -> dict[str, str]:
    stamp = datetime.datetime.fromtimestamp(NOW + seconds, datetime.UTC).isoformat()
    signature = private.sign(stamp.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        "flwr-public-key": base64.b64encode((public or public_pem(private)).encode()).decode(),
        "flwr-signature": base64.b64encode(signature).decode(),
        "flwr-timestamp": stamp,
    }


@pytest.mark.abuse
def test_b30_a_long_body_is_let_in_of_an_enrolled_key_that_signed_just_now_and_of_no_other(door, client, code, joining):
    mine = key()
    client.post("/enroll", json=joining(code, "kitchen", mine))
    assert client.get("/known", headers=headers(mine, 0)).status_code == 204
    stranger = key()
    refused = [
        {},
        headers(mine, -400),
        headers(mine, 60),
        headers(stranger, 0),
        headers(stranger, 0, public_pem(mine)),
        headers(mine, 0) | {"flwr-public-key": "%%"},
        headers(mine, 0) | {"flwr-timestamp": "soon"},
        headers(mine, 0) | {"flwr-timestamp": "2026-01-01T00:00:00"},
    ]
    assert [client.get("/known", headers=header).status_code for header in refused] == [401] * len(refused)
    door.enrolments.revoke("kitchen", NOW)
    assert client.get("/known", headers=headers(mine, 0)).status_code == 401


def test_f74_metrics_of_one_device_name_nobody_and_count_nobody(client, code, joining):
    client.post("/enroll", json=joining(code, "kitchen", key()))
    text = client.get("/metrics").text
    assert 'fedrec_door_requests_total{outcome="200",what="join"} 1.0' in text
    assert "fedrec_devices_enrolled" not in text
    assert not any(word in text for word in ("kitchen", "ada", code))


@pytest.mark.parametrize(("number", "shown"), [(0, None), (1, None), (19, None), (20, 20), (29, 20), (30, 30)])
def test_f74_numbers_of_devices_are_shown_from_twenty_on_and_in_tens(number, shown):
    assert coarse(number) == shown


def test_f74_cohorts_below_twenty_are_left_out_and_larger_ones_are_coarse():
    metrics = DoorMetrics()
    assert "fedrec_round_cohort" not in metrics.text([], {"round": 3, "cohort": 19})
    text = metrics.text([], {"round": 4, "cohort": 47})
    assert "fedrec_round_cohort 40.0" in text
    assert "fedrec_round 4.0" in text


def test_the_last_round_is_that_of_the_run_that_was_written_to_last(tmp_path):
    assert last_round(tmp_path) is None
    for name, text in (("a", '{"round": 1}\n'), ("b", '{"round": 1}\n{"round": 2, "cohort": 30}\n{"rou')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(text)
        os.utime(tmp_path / name / "metrics.jsonl", (ord(name), ord(name)))
    assert last_round(tmp_path) == {"round": 2, "cohort": 30}
    (tmp_path / "b" / "metrics.jsonl").write_text("nonsense\n")
    assert last_round(tmp_path) is None


def test_errors_never_repeat_what_was_sent(client):
    secret = "canary-4711"
    for body in ({"code": secret, "key": secret}, {"code": secret, "key": secret, "public_key": secret, "proof": "00"}):
        assert secret not in client.post("/enroll", json=body).text


def test_readiness_is_503_with_a_sentence_for_each_thing_that_is_missing(door):
    assert Client(make_service(door)).get("/readyz").status_code == 200
    ill = replace(door, problems=lambda: {"disk": "10 MiB are free"}, run_metrics=lambda: "fedrec_rounds 3\n")
    answer = Client(make_service(ill)).get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (503, {"disk": "10 MiB are free"})
    assert Client(make_service(ill)).get("/metrics").text.endswith("fedrec_rounds 3\n")
