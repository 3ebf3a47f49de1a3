"""The client app: Flower's messages in, ``clients.node`` at work, Flower's messages out.

A deployed node finds its folder by ``--node-config 'node="/path"'``, or by the environment's ``FEDREC_NODE``.
"""

import logging
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.device_node import DeviceNode, open_node, sealer_of
from clients.guard.envelope import seal_of
from clients.guard.received import note_received
from clients.installed import catalogue_of
from clients.node import answer, card
from clients.store import NodeStore
from fedrec.codecs import reply_codec
from fedrec.envelope import Seal
from fedrec.errors import ConfigError, DataError, FedRecError, ProtocolError
from fedrec.flower.templates import allowed_reply
from fedrec.flower.wire import ARRAYS, read_roll_call, read_task, refusal_of, write_card, write_refusal, write_reply
from fedrec.rounds import Refusal, RefusalReason

logger = logging.getLogger(__name__)


class NodeFailedError(FedRecError):
    """A node could not do its work; what went wrong is in its own log.

    Flower sends the text of an exception to the server, and the text of a failure may name items or users. So this
    one says the class of the failure, and no more.
    """


def make_client_app(locate: Callable[[Context], Path]) -> ClientApp:
    """Return the client app of nodes whose folders ``locate`` finds."""
    app = ClientApp()

    @app.query()
    def enrol(message: Message, context: Context) -> Message:
        return _guarded(_enrol, message, context, locate)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _guarded(_train, message, context, locate)

    return app


def locate_node(context: Context) -> Path:
    """Return the node's folder from ``node`` in the node's configuration, else from ``FEDREC_NODE``."""
    folder = context.node_config.get("node") or os.environ.get("FEDREC_NODE")
    if not folder:
        raise ConfigError("no node folder: start the SuperNode with --node-config 'node=\"PATH\"', or set FEDREC_NODE")
    return Path(str(folder))


def _guarded(
    handle: Callable[[Message, NodeStore], Message],
    message: Message,
    context: Context,
    locate: Callable[[Context], Path],
) -> Message:
    try:
        with closing(open_node(locate(context))) as store:
            return handle(message, store)
    except Exception as error:  # the border of the device: nothing but the class of a failure may cross it
        logger.exception("the node failed")
        raise NodeFailedError(f"{type(error).__name__}: see the node's log") from error


def _enrol(message: Message, store: NodeStore) -> Message:
    try:
        call = read_roll_call(message)
    except ProtocolError as error:
        return write_refusal(refusal_of(message, error), to=message)
    if not store.policy.consent:
        detail = "the owner has not consented (consent = false)"
        return write_refusal(Refusal(nonce="", reason=RefusalReason.CONSENT, detail=detail), to=message)
    own = card(store)
    if own.catalogue_digest != call.catalogue_digest:
        logger.warning(
            "run %s has catalogue %s, this node %s", call.run_id, call.catalogue_digest, own.catalogue_digest
        )
    sealer = sealer_of(store)
    signature = sealer.sign_card(own, call.run_id, call.challenge) if sealer else ""
    return write_card(own, to=message, signature=signature)


def _train(message: Message, store: NodeStore) -> Message:
    try:
        task = read_task(message)
    except ProtocolError as error:
        return write_refusal(refusal_of(message, error), to=message)
    del message.content[ARRAYS]  # they have been read: a small device has no room for two copies while it trains
    reply = answer(task, store, seal_of(sealer_of(store)))
    if isinstance(reply, Refusal):
        return write_refusal(reply, to=message)
    if isinstance(store, DeviceNode) and reply.seal is not None:
        _remember(store, reply.seal)
    decoded = allowed_reply(task, catalogue_of(store).num_items)
    return write_reply(reply, reply_codec(task, reply.num_users).template(decoded), to=message)


def _remember(store: DeviceNode, seal: Seal) -> None:
    """Note which model was answered. The reply is written already, and goes out whether there is room for a note."""
    try:
        note_received(store.local, seal.envelope)
    except DataError as error:
        logger.warning("the model of round %d was not noted: %s", seal.envelope.round, error)


app = make_client_app(locate_node)
