"""The Control API of Flower's SuperLink on loopback: nodes and runs. The one module of the door that imports flwr."""

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
from flwr.cli.cli_client_interceptor import CliClientHttpInterceptor
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.transport_pb2 import Scalar
from flwr.supercore.control import ControlHttpClient

from fedrec.errors import FedRecError
from server.door.enrolments import Enrolments
from server.door.home import ServerHome, ServerSettings

_SECONDS = 20.0


class SuperLinkError(FedRecError):
    """Flower's SuperLink does not answer, or refuses."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A SuperNode that the SuperLink knows. ``status``: ``registered``, ``online`` or ``offline``."""

    id: int
    public_key: str
    status: str


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Where a run stands. ``status``: ``starting``, ``running``, ``finished``; ``outcome``: empty before the end."""

    id: int
    status: str
    outcome: str
    details: str


class SuperLink:
    """The Control API of a SuperLink on this machine. Methods raise ``SuperLinkError`` if it does not answer."""

    def __init__(self, port: int, authority: Path) -> None:
        self._client = ControlHttpClient(
            f"https://127.0.0.1:{port}",
            interceptors=(CliClientHttpInterceptor(),),
            verify=ssl.create_default_context(cafile=str(authority)),
            timeout=_SECONDS,
        )

    @classmethod
    def of(cls, home: ServerHome, settings: ServerSettings) -> "SuperLink":
        """Return the SuperLink of a server's folder."""
        return cls(settings.superlink_port, home.authority)

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def nodes(self) -> list[Node]:
        """Return the nodes that are registered."""
        with _speaking():
            answer = self._client.ListNodes(ListNodesRequest())
        return [
            Node(id=node.node_id, public_key=node.public_key.decode(), status=node.status)
            for node in answer.nodes_info
            if node.status != "unregistered"
        ]

    def register(self, key: str, public_key: str) -> None:
        """Let the owner of this public key (PEM) connect; nothing happens if it may already."""
        try:
            with _speaking():
                self._client.RegisterNode(RegisterNodeRequest(public_key=public_key.encode(), name=key))
        except SuperLinkError:
            if all(node.public_key != public_key for node in self.nodes()):
                raise

    def unregister(self, public_key: str) -> None:
        """Let the owner of this public key connect no more; nothing happens if it may not."""
        for node in self.nodes():
            if node.public_key == public_key:
                with _speaking():
                    self._client.UnregisterNode(UnregisterNodeRequest(node_id=node.id))

    def start_run(self, bundle: bytes, run: Path) -> int:
        """Submit an app bundle that trains the run folder ``run``; return the id that Flower gives to the run."""
        request = StartRunRequest(
            fab=Fab(hash_str=hashlib.sha256(bundle).hexdigest(), content=bundle),
            override_config={"run": Scalar(string=str(run))},
        )
        with _speaking():
            answer = self._client.StartRun(request)
        if not answer.HasField("run_id"):
            raise SuperLinkError("the SuperLink started no run: its log says why")
        return int(answer.run_id)

    def runs(self) -> list[RunStatus]:
        """Return all runs, in order of id."""
        with _speaking():
            answer = self._client.ListRuns(ListRunsRequest())
        return [
            RunStatus(id=run_id, status=run.status.status, outcome=run.status.sub_status, details=run.status.details)
            for run_id, run in sorted(answer.run_dict.items())
        ]

    def stop_run(self, run_id: int) -> None:
        """Stop a run; its late replies are refused."""
        with _speaking():
            self._client.StopRun(StopRunRequest(run_id=run_id))


def answers(superlink: SuperLink) -> bool:
    """Return whether a SuperLink is up."""
    try:
        superlink.nodes()
    except SuperLinkError:
        return False
    return True


def reconcile(enrolments: Enrolments, superlink: SuperLink) -> None:
    """Make the SuperLink's list of keys that of the enrolments, which is the one that counts.

    A key may have been revoked while the SuperLink was down, and its database may have been lost.
    """
    registered = {node.public_key for node in superlink.nodes()}
    wanted = {device.public_key: device.key for device in enrolments.devices() if not device.left}
    for public_key in registered - set(wanted):
        superlink.unregister(public_key)
    for public_key in sorted(set(wanted) - registered):
        superlink.register(wanted[public_key], public_key)


class _speaking:  # noqa: N801  # reads as the verb that it stands for
    """Turn what goes wrong between here and the SuperLink into one error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx.HTTPStatusError):
            said = error.response.text[:300] or error.response.reason_phrase
            raise SuperLinkError(f"the SuperLink refuses ({error.response.status_code}): {said}") from error
        if isinstance(error, httpx.TransportError):
            raise SuperLinkError("the SuperLink does not answer: start the server with 'fedrec server up'") from error
