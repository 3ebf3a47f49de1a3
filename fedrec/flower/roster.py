"""Who takes part: the frozen list of nodes and users that a privacy claim is about, and where the nodes are now.

A roster is frozen once, when the run begins: its population is the public N of every release. Nodes are known by
their key; the ids that Flower gives them may change whenever they reconnect, and are looked up again each round.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedrec.envelope import CardStatement
from fedrec.errors import ProtocolError, RoundFailedError, SignatureError
from fedrec.flower.enrolment import Enrolment
from fedrec.flower.fields import printable
from fedrec.flower.wire import RollCall, read_card, read_card_signature, roll_call_message
from fedrec.rounds import NodeCard, Refusal

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
ERRORS = 3
"""Errors in place of a card after which a node is not asked again under its id."""


@dataclass(frozen=True, kw_only=True)
class Roster:
    """Cards of all nodes of a run, ascending by key. A user's position counts users through the nodes in that order."""

    cards: tuple[NodeCard, ...]

    def __post_init__(self) -> None:
        keys = [card.key for card in self.cards]
        if keys != sorted(set(keys)):
            raise ValueError("a roster needs distinct keys in ascending order")
        if self.population < 1:
            raise ValueError("a roster needs at least one user")

    @cached_property
    def population(self) -> int:
        """Users of all nodes together: public, and the N of every release."""
        return sum(card.num_users for card in self.cards)

    def divide(self, positions: NDArray[np.int64]) -> list[tuple[NodeCard, NDArray[np.int64]]]:
        """Return each concerned node with its users among ascending ``positions``, counted within the node."""
        bounds = np.cumsum([0, *(card.num_users for card in self.cards)])
        cuts = np.searchsorted(positions, bounds)
        return [
            (card, positions[cuts[i] : cuts[i + 1]] - bounds[i])
            for i, card in enumerate(self.cards)
            if cuts[i] < cuts[i + 1]
        ]


class Whereabouts:
    """Finds nodes: asks every id that the grid knows and it does not, once, for the card behind it.

    A node whose card is malformed, whose catalogue is another, or who claims another's key is left out with a warning
    that says so; it is asked again when it comes back under a new id. Where there is a list of devices, a card counts
    under its device's signature on a challenge that was drawn for the id that was asked, and no longer than the device
    is on the list; what others say in an id's name changes nothing.
    """

    def __init__(
        self,
        grid: Grid,
        call: RollCall,
        timeout: float,
        *,
        enrolment: Enrolment | None = None,
        users_per_device: int | None = None,
    ) -> None:
        self._grid = grid
        self._call = call
        self._timeout = timeout
        self._enrolment = enrolment
        self._users_per_device = users_per_device
        self._cards: dict[int, NodeCard | None] = {}
        self._errors: Counter[int] = Counter()

    def look(self, wanted: Collection[str] | None = None) -> dict[str, tuple[int, NodeCard]]:
        """Return id and card of every usable node that is online now, by key.

        Strangers are asked only if one of the ``wanted`` keys is not among the known (None: always).
        """
        online = set(self._grid.get_node_ids())
        self._cards = {node: card for node, card in self._cards.items() if node in online}
        self._drop_revoked()
        known = {card.key for card in self._cards.values() if card}
        strangers = sorted(online - set(self._cards))
        if strangers and (wanted is None or not known.issuperset(wanted)):
            self._ask(strangers)
        found: dict[str, tuple[int, NodeCard]] = {}
        for node_id, card in sorted(self._cards.items()):
            if card is None:
                continue
            if card.key in found:
                logger.warning("node id %s claims the key %r of another node and is left out", node_id, card.key)
                continue
            found[card.key] = (node_id, card)
        return found

    def _drop_revoked(self) -> None:
        for node_id, card in self._cards.items():
            if card and self._enrolment and self._enrolment.public_key(card.key) is None:
                logger.warning("node %r is not on the list of devices any more and is left out", card.key)
                self._cards[node_id] = None

    def _ask(self, node_ids: Iterable[int]) -> None:
        calls = {node_id: self._challenged() for node_id in node_ids}
        questions = [roll_call_message(call, node_id, self._timeout) for node_id, call in calls.items()]
        for reply in self._grid.send_and_receive(questions, timeout=self._timeout):
            node_id = reply.metadata.src_node_id
            card = self._usable(reply, calls.get(node_id, self._call))
            self._errors[node_id] += reply.has_error()
            if reply.has_error() and self._errors[node_id] < ERRORS:
                continue  # a task that was ended on the device, say: asked again with the next look
            if self._cards.get(node_id) is None:  # a card that counts is not undone by what comes in its name
                self._cards[node_id] = card

    def _challenged(self) -> RollCall:
        return replace(self._call, challenge=secrets.token_hex(16)) if self._enrolment else self._call

    def _usable(self, reply: Message, call: RollCall) -> NodeCard | None:
        node_id = reply.metadata.src_node_id
        if reply.has_error():
            logger.warning("node id %s did not enrol: %s", node_id, printable(reply.error.reason or ""))
            return None
        try:
            card = read_card(reply)
            if isinstance(card, Refusal):
                logger.warning("node id %s refuses to enrol: %s: %s", node_id, card.reason, card.detail)
                return None
            self._check_signature(reply, card, call)
        except (ProtocolError, SignatureError) as error:
            logger.warning("node id %s did not enrol: %s", node_id, error)
            return None
        if card.catalogue_digest != self._call.catalogue_digest:
            logger.warning(
                "node %r is left out: its catalogue is %s, the run's is %s; install the run's catalogue on it",
                card.key,
                card.catalogue_digest[:12],
                self._call.catalogue_digest[:12],
            )
            return None
        return card

    def _check_signature(self, reply: Message, card: NodeCard, call: RollCall) -> None:
        """Raise unless the card is an enrolled device's own, signed for this question, and of not too many users.

        How many it has is a device's own word, and what its replies weigh.
        """
        if self._enrolment is None:
            return
        public = self._enrolment.public_key(card.key)
        if public is None:
            raise SignatureError(
                f"node {card.key!r} is not on the list of devices: enrol it with 'fedrec server enroll'"
            )
        signature = read_card_signature(reply)
        if not signature:
            raise SignatureError(f"the card of node {card.key!r} is not signed")
        CardStatement(
            run_id=call.run_id,
            challenge=call.challenge,
            key=card.key,
            num_users=card.num_users,
            catalogue_digest=card.catalogue_digest,
        ).verify(signature, public)
        most = self._users_per_device
        if most is not None and card.num_users > most:
            raise SignatureError(
                f"node {card.key!r} says it has {card.num_users} users, federation.users_per_device is {most}"
            )


def enrol(
    whereabouts: Whereabouts,
    minimum_nodes: int,
    timeout: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Roster:
    """Wait until ``minimum_nodes`` usable nodes are online, and freeze all that are into a roster.

    Raises ``RoundFailedError`` if ``timeout`` seconds pass before, or if the nodes have no user.
    """
    deadline = clock() + timeout
    found = whereabouts.look()
    while len(found) < minimum_nodes:
        if clock() >= deadline:
            raise RoundFailedError(
                f"{len(found)} of {minimum_nodes} nodes enrolled within {timeout:g} s: start more nodes, see the "
                "warnings above for nodes left out, or lower federation.nodes"
            )
        sleep(POLL_SECONDS)
        found = whereabouts.look()
    cards = tuple(card for _, (_, card) in sorted(found.items()))
    if not any(card.num_users for card in cards):
        raise RoundFailedError("no enrolled node has a user: give the nodes histories")
    return Roster(cards=cards)
