"""A client of the local service, for programs on the device and for the command line."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.service import device_pb2 as pb
from clients.service.address import Address, read_token
from clients.service.device_pb2_grpc import DeviceStub
from fedrec.errors import FedRecError

SECONDS = 10.0
"""How long an answer may take, unless the caller says otherwise; an export may take six times as long."""
_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.enable_http_proxy", 0),  # the service is on this machine, whatever the environment's proxy
    ("grpc.initial_reconnect_backoff_ms", 100),
)


class ServiceError(FedRecError):
    """The local service refused a call; ``code`` is gRPC's name of the status, as ``NOT_FOUND``."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ServiceNotRunningError(ServiceError):
    """Nothing answers at the service's address."""


class DeviceClient(AbstractContextManager["DeviceClient"]):
    """One connection to a device's local service. Replies are the messages of ``device.proto``.

    Every call raises ``ServiceNotRunningError`` where nothing answers, and ``ServiceError`` where it is refused.
    """

    def __init__(self, address: Address, *, seconds: float = SECONDS) -> None:
        self._where = address.target
        self._seconds = seconds
        token = read_token(address.token) if address.token else None
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        # The name of a Unix socket is no host name; without this, the socket's path would be sent as one.
        options = (*_OPTIONS, ("grpc.default_authority", "localhost"))
        self._channel = grpc.insecure_channel(address.target, options=options)
        self._stub = DeviceStub(self._channel)  # type: ignore[no-untyped-call]  # generated without types

    @classmethod
    def of(cls, home: DeviceHome, *, seconds: float = SECONDS) -> Self:
        """Return a client of the device in a folder, at the address of its settings."""
        address = Address.of(home, DeviceSettings.load(home.settings).api.address)
        if address.socket and not address.socket.exists():
            raise not_running(f"{address.socket}", home.path)
        return cls(address, seconds=seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up."""
        self._channel.close()

    def recommend(
        self, *, user: str = "", k: int = 10, exclude: Sequence[str] = (), explain: bool = False
    ) -> pb.RecommendReply:
        """Return the best ``k`` items for a user, best first, without ``exclude`` and what the user has chosen."""
        request = pb.RecommendRequest(user=user, k=k, exclude=exclude, explain=explain)
        reply: pb.RecommendReply = self._call(self._stub.Recommend, request)
        return reply

    def record(
        self,
        item: str,
        *,
        user: str = "",
        kind: str = "",
        value: float | None = None,
        time: float | None = None,
        keep_unknown: bool = False,
    ) -> int:
        """Keep one event and return its number; it counts in the next ``recommend``."""
        request = pb.RecordFeedbackRequest(
            user=user, item=item, kind=kind, value=value, time=time, keep_unknown=keep_unknown
        )
        return int(self._call(self._stub.RecordFeedback, request).event)

    def status(self) -> pb.StatusReply:
        """Return how the device is doing."""
        reply: pb.StatusReply = self._call(self._stub.Status, pb.StatusRequest())
        return reply

    def consent(self) -> pb.ConsentState:
        """Return the owner's consent to training."""
        state: pb.ConsentState = self._call(self._stub.Consent, pb.ConsentRequest()).consent
        return state

    def set_consent(self, granted: bool, *, scope: str = "") -> pb.ConsentState:
        """Give or withdraw consent; withdrawing deletes replies that are not yet sent."""
        state: pb.ConsentState = self._call(self._stub.Consent, pb.ConsentRequest(grant=granted, scope=scope)).consent
        return state

    def export(self) -> dict[str, Any]:
        """Return everything that the device holds of its users."""
        with self._translated():
            stream = self._stub.Export(pb.ExportRequest(), timeout=6 * self._seconds, metadata=self._metadata)
            content = b"".join(chunk.content for chunk in stream)
        document: dict[str, Any] = json.loads(content)
        return document

    def forget(self) -> int:
        """Delete what the device holds of its users; return how many events that were."""
        return int(self._call(self._stub.Forget, pb.ForgetRequest(confirm=True), patience=6).num_events)

    def privacy(self, releases: int = 0) -> pb.PrivacyReply:
        """Return what training has spent, with the last ``releases`` releases."""
        reply: pb.PrivacyReply = self._call(self._stub.Privacy, pb.PrivacyRequest(releases=releases))
        return reply

    def _call(self, method: Callable[..., Any], request: Any, *, patience: int = 1) -> Any:
        with self._translated():
            return method(request, timeout=patience * self._seconds, metadata=self._metadata)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn gRPC's error into one of ours."""
        try:
            yield
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and "connect" in (error.details() or ""):
                raise not_running(self._where) from error
            raise ServiceError(error.details() or error.code().name, error.code().name) from error


def not_running(where: str, folder: Path | str = "DIR") -> ServiceNotRunningError:
    """Return the error for a service that nobody has started."""
    start = f"start it with 'fedrec device run {folder}', alone with '--only api'"
    return ServiceNotRunningError(f"the local service does not answer at {where}: {start}", "UNAVAILABLE")
