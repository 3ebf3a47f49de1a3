"""Who takes part: the frozen list of nodes and users that a privacy claim is about, and where the nodes are now.

A roster is frozen once, when the run begins: its population is the public N of every release. Nodes are known by
their key; the ids that Flower gives them may change whenever they reconnect, and are looked up again each round.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedrec.errors import ProtocolError, RoundFailedError
from fedrec.flower.fields import printable
from fedrec.flower.wire import RollCall, read_card, roll_call_message
from fedrec.rounds import NodeCard, Refusal

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


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
    that says so; it is asked again when it comes back under a new id.
    """

    def __init__(self, grid: Grid, call: RollCall, timeout: float) -> None:
        self._grid = grid
        self._call = call
        self._timeout = timeout
        self._cards: dict[int, NodeCard | None] = {}

    def look(self, wanted: Collection[str] | None = None) -> dict[str, tuple[int, NodeCard]]:
        """Return id and card of every usable node that is online now, by key.

        Strangers are asked only if one of the ``wanted`` keys is not among the known (None: always).
        """
        online = set(self._grid.get_node_ids())
        self._cards = {node: card for node, card in self._cards.items() if node in online}
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

    def _ask(self, node_ids: Iterable[int]) -> None:
        calls = [roll_call_message(self._call, node_id, self._timeout) for node_id in node_ids]
        for reply in self._grid.send_and_receive(calls, timeout=self._timeout):
            self._cards[reply.metadata.src_node_id] = self._usable(reply)

    def _usable(self, reply: Message) -> NodeCard | None:
        node_id = reply.metadata.src_node_id
        if reply.has_error():
            logger.warning("node id %s did not enrol: %s", node_id, printable(reply.error.reason or ""))
            return None
        try:
            card = read_card(reply)
        except ProtocolError as error:
            logger.warning("node id %s did not enrol: %s", node_id, error)
            return None
        if isinstance(card, Refusal):
            logger.warning("node id %s refuses to enrol: %s: %s", node_id, card.reason, card.detail)
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
