"""The door service: devices join and leave here, behind nginx, and nginx asks here who sends a long body.

FastAPI on loopback. Its errors are JSON, ``{"error": sentence}``; nothing that a peer sent is put into one, or into a
log. Metrics are for this machine alone: nginx does not pass them.
"""

import base64
import binascii
import datetime
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from fedrec.errors import EnrolmentError, FedRecError, SignatureError
from fedrec.signing.device_keys import verify_statement
from server.door.enrolments import Enrolments, KeyTakenError
from server.door.flower import SuperLink, SuperLinkError, answers, reconcile
from server.door.home import ServerHome, ServerSettings
from server.door.metrics import DoorMetrics, last_round
from server.door.timestamps import signed_now

MAX_BODY = 16 << 10
_POLL_SECONDS = 0.2

Form = TypeVar("Form", bound=BaseModel)


class NodeList(Protocol):
    """The SuperLink's own list of keys that may connect; see ``server.door.flower.SuperLink``."""

    def register(self, key: str, public_key: str) -> None:
        """Let the owner of a public key connect."""

    def unregister(self, public_key: str) -> None:
        """Let it connect no more."""


class Joining(BaseModel):
    """What a device sends to join. ``proof``: its signature on the statement ``enrolment`` of code and name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    code: str = Field(max_length=64)
    key: str = Field(max_length=64)
    public_key: str = Field(max_length=2048)
    proof: str = Field(max_length=512)


class Leaving(BaseModel):
    """What a device sends to leave for good. ``proof``: its signature on the statement ``withdrawal`` of its name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(max_length=64)
    proof: str = Field(max_length=512)


@dataclass(frozen=True, kw_only=True)
class Door:
    """What the service works with."""

    enrolments: Enrolments
    nodes: NodeList
    signer: str
    """Hex of the key that signs what the server publishes."""
    quota: int
    metrics: DoorMetrics
    last_round: Callable[[], Mapping[str, Any] | None] = lambda: None
    """What the current run's metrics say of its last round."""
    problems: Callable[[], Mapping[str, str]] = dict
    """What keeps the server from being ready, by what was looked at."""
    run_metrics: Callable[[], str] = lambda: ""
    """Metrics of runs, in Prometheus' text form."""
    clock: Callable[[], float] = time.time

    def join(self, asked: Joining) -> dict[str, Any]:
        """Enrol a device and let it connect."""
        verify_statement("enrolment", {"code": asked.code, "key": asked.key}, asked.proof, asked.public_key)
        device = self.enrolments.redeem(asked.code, asked.key, asked.public_key, self.clock(), self.quota)
        self.nodes.register(device.key, device.public_key)
        return {"key": device.key, "signer": self.signer, "owner": device.owner}

    def leave(self, asked: Leaving) -> dict[str, Any]:
        """Bury a device: its key is good for nothing any more, and its owner is forgotten."""
        device = self.enrolments.device(asked.key)
        if device is None:
            raise EnrolmentError("no device of this name is enrolled here")
        verify_statement("withdrawal", {"key": asked.key}, asked.proof, device.public_key)
        self.enrolments.withdraw(asked.key, self.clock())
        self.nodes.unregister(device.public_key)
        return {"key": asked.key, "withdrawn": True}

    def knows(self, public_key: str, signature: str, timestamp: str) -> bool:
        """Return whether headers of Flower's node authentication are of a device that is enrolled, and of now."""
        try:
            pem = base64.b64decode(public_key, validate=True).decode()
            signed = base64.b64decode(signature, validate=True)
        except (binascii.Error, UnicodeDecodeError):
            return False
        now = datetime.datetime.fromtimestamp(self.clock(), datetime.UTC)
        return self.enrolments.is_enrolled(pem) and signed_now(pem, signed, timestamp, now)


def make_door(home: ServerHome, settings: ServerSettings) -> Door:
    """Return the door of a server's folder."""
    return Door(
        enrolments=Enrolments.open(home.enrolments),
        nodes=SuperLink.of(home, settings),
        signer=home.signer.read_text().strip(),
        quota=settings.owner_quota,
        metrics=DoorMetrics(),
        last_round=partial(last_round, home.runs),
    )


def wait_for_superlink(home: ServerHome, settings: ServerSettings, sleep: Callable[[float], None] = time.sleep) -> None:
    """Return once the SuperLink answers and lets in exactly who is enrolled. Whoever starts both ends both in time."""
    superlink = SuperLink.of(home, settings)
    try:
        while not answers(superlink):
            sleep(_POLL_SECONDS)
        reconcile(Enrolments.open(home.enrolments), superlink)
    finally:
        superlink.close()


def make_service(door: Door) -> FastAPI:
    """Return the service."""
    service = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @service.post("/enroll")
    async def enroll(request: Request) -> Response:
        return await _answer(_read(request, Joining), door.join, door.metrics)

    @service.post("/withdraw")
    async def withdraw(request: Request) -> Response:
        return await _answer(_read(request, Leaving), door.leave, door.metrics)

    @service.get("/known")
    def known(request: Request) -> Response:
        names = ("flwr-public-key", "flwr-signature", "flwr-timestamp")
        good = door.knows(*(request.headers.get(name, "") for name in names))
        door.metrics.count("upload", "passed" if good else "unknown-key")
        return Response(status_code=204 if good else 401)

    @service.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @service.get("/readyz")
    def readyz() -> Response:
        problems = dict(door.problems())
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    @service.get("/metrics")
    def metrics() -> Response:
        text = door.metrics.text(door.enrolments.devices(), door.last_round()) + door.run_metrics()
        return Response(text, media_type="text/plain; version=0.0.4")

    return service


async def _read(request: Request, form: type[Form]) -> Form:
    """Return the body in its form; ``_RefusedError`` 422 if it is too long or of another form."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _RefusedError(413, f"a request has at most {MAX_BODY} bytes")
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        names = ", ".join(sorted(form.model_fields))
        raise _RefusedError(422, f"a request is JSON with the texts {names}") from error


async def _answer(reading: Awaitable[Form], act: Callable[[Form], dict[str, Any]], metrics: DoorMetrics) -> Response:
    """Act on what a device asks, off the event loop, and say what came of it."""
    what = act.__name__
    try:
        found = await run_in_threadpool(act, await reading)
    except (FedRecError, _RefusedError) as error:
        status = _status(error)
        metrics.count(what, str(status))
        return JSONResponse({"error": str(error)}, status)
    metrics.count(what, "200")
    return JSONResponse(found)


def _status(error: Exception) -> int:
    if isinstance(error, _RefusedError):
        return error.status
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 500


_STATUS: tuple[tuple[type[FedRecError], int], ...] = (
    (KeyTakenError, 409),
    (SignatureError, 403),
    (EnrolmentError, 403),
    (SuperLinkError, 503),
)


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
