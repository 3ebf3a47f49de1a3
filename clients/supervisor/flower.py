"""The one adapter to Flower's internals on a device: its SuperNode, bent where it must be, and its Runtime API.

What is bent, and why (flwr 1.41):

- The Runtime API listens on a Unix socket that its owner alone may open, not on a loopback port at which every local
  process could take tasks.
- A redirect is an error: Flower would follow it to another host, with the request in its hands.
- Each good poll is reported, and each bad answer of the server: Flower's loop ends after one HTTP 500, and its process
  stays.
- A bundle that is not the installed code is not even looked into; the trainer refuses it by name.
- A task whose run ends while its tensors are fetched is let go of. Flower passes that over, and leaves a task behind
  whose tensors never come: the trainer would wait for them, and the SuperNode for the trainer, whatever the next run
  asks.
- The key is the device's, which signs its replies too; Flower reads OpenSSH's format alone.

Nothing here knows when a device trains. Other versions of Flower are refused until somebody has looked at them.
"""

import hashlib
import importlib
import socket
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flwr
import httpx
import uvicorn
from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import context_from_proto, context_to_proto, message_from_proto
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from fedrec.errors import ConfigError
from fedrec.signing.device_keys import load_device_key

KNOWN = "1.41."
"""Versions of Flower whose internals this module was written against."""
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_TIMEOUT = 30.0
flower_supernode = importlib.import_module("flwr.supernode.cli.flower_supernode")
"""The module, which its package hides behind the function of the same name."""


def check_version() -> None:
    """Raise ``ConfigError`` unless the installed Flower is one whose internals are known."""
    if not flwr.__version__.startswith(KNOWN):
        raise ConfigError(f"flwr {flwr.__version__} is installed, devices need {KNOWN}x: pip install 'flwr==1.41.*'")


@dataclass(frozen=True, kw_only=True)
class SuperNode:
    """What a SuperNode is started with."""

    address: str
    authority: Path
    key: Path
    secret: Path
    """File of the secret that the trainer shows to be given tasks."""
    socket: Path
    """Unix socket of the Runtime API."""
    bundle: str
    """Hex of the SHA-256 of the bundle that the installed code makes."""


def run_supernode(node: SuperNode, polled: Callable[[bool], None], refused: Callable[[int], None]) -> None:
    """Run a SuperNode in this process until it ends; Flower leaves by ``SystemExit`` or returns.

    ``polled`` is called after each good poll, and with True while a task is in the trainer's hands; ``refused`` with
    the HTTP status of each answer that is none, 0 where there was no answer.
    """
    check_version()
    listening = _listen(node.socket)
    _bend_runtime_api(listening)
    _bend_fleet_client(polled, refused)
    _bend_loop(node.bundle, polled)
    key = load_device_key(node.key)
    _replace(flower_supernode, "_try_setup_client_authentication", lambda args: (key, key.public_key()))
    sys.argv = ["flower-supernode", "--superlink", node.address, "--root-certificates", str(node.authority)]
    sys.argv += ["--isolation", "process", "--superexec-auth-secret-file", str(node.secret)]
    flower_supernode.flower_supernode()


def _listen(path: Path) -> socket.socket:
    """Bind a Unix socket that nobody but its owner may open."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))  # nobody can connect before uvicorn listens
    path.chmod(0o600)
    return listening


def _bend_runtime_api(listening: socket.socket) -> None:
    def config(*, app: Any, **ignored: Any) -> uvicorn.Config:
        return uvicorn.Config(
            app=app, fd=listening.fileno(), access_log=False, log_level="warning", workers=1, ws="none"
        )

    _replace(flower_supernode, "uvicorn", SimpleNamespace(Server=uvicorn.Server, Config=config))


def _bend_fleet_client(polled: Callable[[bool], None], refused: Callable[[int], None]) -> None:
    class Watched(FleetHttpClient):
        """Says how each request went, and follows nobody elsewhere."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._client.follow_redirects = False

        def _send(self, context: Any, *, stream: bool = False) -> httpx.Response:
            try:
                response = super()._send(context, stream=stream)
            except httpx.TransportError:
                refused(0)
                raise
            if not response.is_success:
                refused(response.status_code)
            elif context.rpc_method.endswith("/PullMessages"):
                polled(False)
            return response

    _replace(fleet_http_connection, "FleetHttpClient", Watched)


def _bend_loop(bundle: str, polled: Callable[[bool], None]) -> None:
    fuse, push = _of(start_client_internal, "get_fused_config_from_fab"), _of(start_client_internal, "_push_messages")
    store = _of(start_client_internal, "_pull_and_store_message")

    def fuse_own(fab: Path | bytes, run: Any) -> Any:
        own = isinstance(fab, bytes) and hashlib.sha256(fab).hexdigest() == bundle
        return fuse(fab, run) if own else {}

    def push_watched(*arguments: Any, **options: Any) -> None:
        polled(True)
        push(*arguments, **options)
        polled(False)

    def store_whole(*, pull_object: Any, confirm_message_received: Any, **options: Any) -> int | None:
        found: int | None = store(
            pull_object=_failing(pull_object), confirm_message_received=_failing(confirm_message_received), **options
        )
        return found

    _replace(start_client_internal, "get_fused_config_from_fab", fuse_own)
    _replace(start_client_internal, "_pull_and_store_message", store_whole)
    _replace(start_client_internal, "_push_messages", push_watched)


def _failing(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``call``, failing as calls do where a run has ended: Flower clears up after ``Exception``s alone."""

    def called(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except RunNotRunningException as ended:
            raise RuntimeError("the run has ended") from ended

    return called


def _of(module: Any, name: str) -> Any:
    """Return what a module of Flower's calls ``name``; ``ConfigError`` if there is no such thing (any more)."""
    if not hasattr(module, name):
        raise ConfigError(f"flwr {flwr.__version__} has no {module.__name__}.{name}: install another flwr 1.41")
    return getattr(module, name)


def _replace(module: Any, name: str, by: Any) -> None:
    _of(module, name)
    setattr(module, name, by)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task that is this trainer's: the right to read its input and to answer it."""

    task: int
    run: int
    token: str


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a task is about, without its tensors. All of it is the server's word."""

    context: Context
    message: Message
    tree: ObjectTree
    bundle: str
    """Hex of the SHA-256 of the bundle that came with it, computed here."""


def pack(pulled: Pulled) -> dict[str, str]:
    """Return what another process of this device needs to work on a task, as texts."""
    context = context_to_proto(pulled.context).SerializeToString()
    return {"context": b64encode(context).decode(), "tree": b64encode(pulled.tree.SerializeToString()).decode()}


def unpack(packed: Mapping[str, str]) -> tuple[Context, ObjectTree]:
    """Return what ``pack`` packed."""
    context = ProtoContext.FromString(b64decode(packed["context"]))
    return context_from_proto(context), ObjectTree.FromString(b64decode(packed["tree"]))


class Runtime:
    """The Runtime API of this device's SuperNode, over its Unix socket. Errors of transport are ``httpx.HTTPError``."""

    def __init__(self, path: Path, *, secret: bytes | None = None, token: str | None = None) -> None:
        interceptors: list[Any] = [RuntimeVersionHttpInterceptor(component_name="SuperExec" if secret else "ClientApp")]
        if secret:
            interceptors.append(SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE}))
        if token:
            interceptors.append(RuntimeTokenHttpInterceptor(token))
        self.client = RuntimeHttpClient("http://runtime", interceptors=interceptors, verify=False)
        self.client.close()
        transport = httpx.HTTPTransport(uds=str(path), verify=False)  # plain HTTP: no TLS to set up
        self.client._client = httpx.Client(transport=transport, timeout=_TIMEOUT, follow_redirects=False)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def acquire(self) -> Claim | None:
        """Take the oldest task that nobody has, None where there is none."""
        response = self.client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        if not response.HasField("task") or not response.token:
            return None
        return Claim(task=response.task.task_id, run=response.task.run_id, token=response.token)

    def pull(self) -> Pulled:
        """Return what the task of this connection's token is about; it can be asked once."""
        given = self.client.PullTaskInput(PullTaskInputRequest())
        messages = self.client.PullMessages(PullAppMessagesRequest())
        if not messages.messages_list:
            raise httpx.RemoteProtocolError("the SuperNode has no message for its task")
        message = message_from_proto(messages.messages_list[0])
        tree = messages.message_object_trees[0]
        message.metadata.__dict__["_message_id"] = tree.object_id
        bundle = hashlib.sha256(given.fab.content).hexdigest()
        return Pulled(context=context_from_proto(given.context), message=message, tree=tree, bundle=bundle)

    def inflate(self, tree: ObjectTree, context: Context) -> Message:
        """Return a task's message with its tensors."""
        node = Node(node_id=context.node_id)
        message: Message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self.client.PullObject, node, context.run_id),
            make_confirm_message_received_fn_protobuf(self.client.ConfirmMessageReceived, node, context.run_id),
            return_type=Message,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def heartbeat(self) -> bool:
        """Say that the task is worked on; False where the SuperNode has given it up."""
        return bool(self.client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)

    def answer(self, message: Message, context: Context) -> None:
        """Hand a reply to the SuperNode, which sends it."""
        push_message(self.client, message, context)

    def fail(self, pulled: Pulled, reason: str) -> None:
        """Answer a task with an error of one word; nothing of what was read of the device is in it."""
        error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason)
        self.answer(Message(error, reply_to=pulled.message), pulled.context)

    def finish(self, *, completed: bool) -> None:
        """Give the task back as done."""
        status = SubStatus.COMPLETED if completed else SubStatus.FAILED
        push_task_output(self.client, None, status, "" if completed else "the device ended it")
