"""One round's replies: each is validated, decoded, the bad ones set aside with a reason, the good ones aggregated.

Whatever a client sends, nothing here raises: one odd reply must not end a run for all others. A reply goes into the
round's rule (``fedrec.aggregation``) as it arrives and is not kept; the plain rule's sum is exact, so that neither
arrival order nor transport changes a bit of the result. Where devices add noise themselves, a norm is refused only if
that noise cannot explain it, and integers never: a device that breaks its bound by less is not noticed. What a reply
weighs is what was asked, whatever it says. A reply counts once, for the node that its nonce was given to; where the
server has a list of devices, only under that device's seal (``fedrec.flower.seals``).
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import torch
from flwr.app import Message
from torch import Tensor

from fedrec.aggregation.exact_sum import ExactSum
from fedrec.aggregation.rule import Rule
from fedrec.codecs import Codec, codec_for, reply_codec
from fedrec.config import CodecConfig
from fedrec.errors import ProtocolError
from fedrec.flower.conduct import Judged
from fedrec.flower.enrolment import Enrolment
from fedrec.flower.events import Fact, What
from fedrec.flower.fields import printable
from fedrec.flower.quarantine import ALARMS, MISCONDUCT, QuarantineError, QuarantineReason, reason_of
from fedrec.flower.seals import Seals, never_asked, seals_of
from fedrec.flower.templates import allowed_reply
from fedrec.flower.traffic import wire_bytes
from fedrec.flower.wire import nonce_of, read_reply
from fedrec.models.split import SharedState
from fedrec.privacy.adaptive_clipping import MOST_PER_USER, WITHIN, without_bits
from fedrec.rounds import Refusal, RefusalReason, TrainReply, TrainTask
from fedrec.training.head_rows import ITEM_PARAMETERS

logger = logging.getLogger(__name__)

PLAIN = codec_for(CodecConfig(), 0, 0)

TAILS = 8.0
"""Standard deviations by which the norm of a device's noise may pass the root of its dimension."""
NORM_TOLERANCE = 1e-4
"""Relative slack of the norm check, for the rounding of float32 sums."""
MOST_TEXTS = 100
"""Replies of a round of which it is kept in words what was wrong; the others are counted."""

_BLOCK = 1 << 15
"""Numbers that are looked at together, so that a copy of them stays in the processor's cache."""

MOST_PARTS = 64
"""Fields of a reply's records, of which there are fewer, and tensors beside four for each that the task has."""


def _unheard(what: What, facts: Mapping[str, Fact]) -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One node that was sent a task.

    ``staleness``: steps that the model has taken since; ``model_digest``: of what the task carried, where it was an
    earlier round's, and None where it is the round's own.
    """

    key: str
    nonce: str
    num_users: int
    staleness: int = 0
    model_digest: str | None = None

    @property
    def weight(self) -> float:
        """By which its reply is multiplied: a constant of the server's (FedBuff: Nguyen et al., 2022, section 5)."""
        return 1 / sqrt(1 + self.staleness)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a round's replies came to. ``total``: see ``fedrec.aggregation.rule.Aggregate``."""

    total: SharedState
    usable: tuple[str, ...]
    """Keys of the nodes whose replies are in the sum."""
    num_users: int
    """Users behind the usable replies."""
    refused: dict[str, Refusal]
    """By node key."""
    quarantined: tuple[str, ...]
    """What was wrong with each reply that was set aside, of the first ``MOST_TEXTS``."""
    reasons: dict[str, int]
    """How many were set aside, by ``QuarantineReason``."""
    failed: tuple[str, ...]
    """What was reported for each message that came to nothing."""
    bytes_up: int
    """On the wire (``fedrec.flower.traffic``), of all replies, usable or not, but those of absurdly many parts."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why the round's rule gave a usable reply no weight, by node key."""
    frozen_rows: int = 0
    """Item rows that too few nodes had moved."""
    judged: Judged = field(default_factory=Judged)
    """What the replies showed of nodes' conduct."""
    staleness: float = 0.0
    """Mean of the usable replies'."""


@dataclass(kw_only=True)
class Fold:
    """Takes replies in any order and hands the good ones to the round's rule."""

    asked: Sequence[Asked]
    allowed: SharedState
    """Tensors of the names, shapes and dtypes that a reply must decode to."""
    clip_norm: float | None
    """Bound of one user's contribution; None where nothing is clipped."""
    row_clip_norm: float | None = None
    """Bound of each row of one user's item tables, where it can be seen in a sum."""
    noise_std: float = 0.0
    """Of the noise that a device has added to each number for each user; 0 where the server adds it."""
    bits: int | None = None
    """Of the modulus that sums of integers are taken by; None for numbers."""
    codec: Callable[[int], Codec] = lambda num_users: PLAIN
    """Of a reply that speaks for so many users."""
    seals: Seals | None = None
    """Judges whose replies they are; None where there is no list of devices."""
    sent: Mapping[str, int] = field(default_factory=dict)
    """Id by node key of where each task was sent to, as far as that is known by now."""
    former: Collection[str] = frozenset()
    """Nonces of earlier rounds of the run."""
    rule: Rule | None = None
    """What becomes of good replies; None sums them."""
    on_reply: Callable[[What, Mapping[str, Fact]], None] = _unheard
    """Told of each reply that is taken, refused or set aside, with the facts that ``What`` names but the time."""
    _usable: set[int] = field(init=False, default_factory=set)
    _refused: dict[str, Refusal] = field(init=False, default_factory=dict)
    _heard: set[int] = field(init=False, default_factory=set)
    _proven: int | None = field(init=False, default=None)
    """Of whose message it is certain, while one is judged, that its node has sent it."""
    _blamed: set[str] = field(init=False, default_factory=set)
    _quarantined: list[str] = field(init=False, default_factory=list)
    _reasons: Counter[str] = field(init=False, default_factory=Counter)
    _failed: list[str] = field(init=False, default_factory=list)
    _bytes_up: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._rule: Rule = self.rule or ExactSum(self.allowed)
        self._by_nonce = {one.nonce: position for position, one in enumerate(self.asked)}

    def take(self, message: Message) -> None:
        """Judge one reply; add it to the sum if it is good."""
        if message.has_error():
            if len(self._failed) < MOST_TEXTS:
                self._failed.append(printable(message.error.reason or f"error {message.error.code}"))
            return
        position, self._proven = self._by_nonce.get(nonce_of(message)), None
        try:
            self._check_parts(message)
            size = wire_bytes(message)
            self._bytes_up += size
            if position is not None:
                self._check_source(message, position)
            self._take(read_reply(message, self._template), size)
        except ProtocolError as error:
            self._set_aside(error, None if position is None else self.asked[position].key)

    @property
    def num_usable(self) -> int:
        """Nodes whose replies are good so far."""
        return len(self._usable)

    def silent_keys(self) -> set[str]:
        """Return the keys of nodes of which nothing came, not even something to set aside."""
        return {one.key for i, one in enumerate(self.asked) if i not in self._heard}

    def close(self) -> Tally:
        """Return the round's tally."""
        aggregate = self._rule.close() if self._usable else ExactSum(self.allowed).close()
        usable = tuple(self.asked[position].key for position in sorted(self._usable))
        suspects = aggregate.suspects
        idle = None if suspects is None else {key: suspects[key] for key in usable if key in suspects}
        return Tally(
            total=SharedState(dict(aggregate.total)),
            usable=usable,
            num_users=sum(self.asked[position].num_users for position in self._usable),
            refused=self._refused,
            quarantined=tuple(self._quarantined),
            reasons=dict(self._reasons),
            failed=tuple(self._failed),
            bytes_up=self._bytes_up,
            left_out=aggregate.left_out,
            frozen_rows=aggregate.frozen_rows,
            judged=Judged(taken=usable, set_aside=tuple(sorted(self._blamed)), idle=idle),
            staleness=sum(self.asked[one].staleness for one in self._usable) / max(1, len(self._usable)),
        )

    def _check_parts(self, message: Message) -> None:
        """Raise if a message has far more parts than any reply: to look at each of them would take its time."""
        parts = sum(len(record) for record in message.content.values())
        if parts > MOST_PARTS + 4 * len(self.allowed):
            raise ProtocolError(f"the message has {parts} tensors and fields, no reply of this round has as many")

    def _check_source(self, message: Message, position: int) -> None:
        """Note who is heard; raise if a task is answered from elsewhere than it was sent to.

        Transport's word on the source can be forged, so that it is in no one's favour: it can only be held against a
        reply, whose node is then as silent as before.
        """
        key, source = self.asked[position].key, message.metadata.src_node_id
        if self.sent.get(key, source) != source:
            text = f"the task of node {key!r} is answered from another address than it was sent to"
            raise QuarantineError(QuarantineReason.FORGED_SOURCE, text)
        self._heard.add(position)
        self._proven = None if self.seals else position  # without a list of devices, transport's word is all there is

    def _take(self, reply: TrainReply | Refusal, size: int) -> None:
        """Count an answer. ``size``: bytes on the wire."""
        position = self._by_nonce.get(reply.nonce)
        if position is None:
            raise self._foreign(reply)
        asked = self.asked[position]
        if position in self._usable or asked.key in self._refused:
            raise QuarantineError(QuarantineReason.DUPLICATE, f"node {asked.key!r} answered twice")
        if isinstance(reply, Refusal):
            logger.info("node %r refuses: %s: %s", asked.key, reply.reason, reply.detail)
            self._refused[asked.key] = reply
            self.on_reply(What.REPLY_REFUSED, {"node": asked.key, "reason": reply.reason.value})
        else:
            self._take_total(reply, position)
            late: dict[str, Fact] = {"staleness": asked.staleness} if asked.staleness else {}
            self.on_reply(What.REPLY_TAKEN, {"node": asked.key, "bytes": size, **late})

    def _take_total(self, reply: TrainReply, position: int) -> None:
        """Take a reply that nothing is wrong with. Its number is counted last: a bad one must not use it up."""
        asked = self.asked[position]
        if self.seals:
            self.seals.earlier(asked.staleness, asked.model_digest).check(reply, asked.key)
            self._proven = position
        total = self._decoded(reply, asked)
        if self.seals:
            self.seals.accept(reply, asked.key)
        try:
            self._rule.add(asked.key, _weighed(total, asked.weight), asked.num_users)
        except ValueError as error:
            raise QuarantineError(QuarantineReason.BOUND, f"the sum of node {asked.key!r}: {error}") from error
        self._usable.add(position)

    def _foreign(self, reply: TrainReply | Refusal) -> QuarantineError:
        """Return what is wrong with an answer to no task of this round."""
        if reply.nonce in self.former:
            return QuarantineError(QuarantineReason.STALE, "it answers a task of an earlier round: it is late")
        if isinstance(reply, Refusal):
            if reply.reason is RefusalReason.UPGRADE:
                return QuarantineError(QuarantineReason.UPGRADE, reply.detail)
            return never_asked()
        return self.seals.foreign(reply) if self.seals else never_asked()

    def _set_aside(self, error: ProtocolError, node: str | None) -> None:
        """Count a bad reply; ``node``: whose task it answers, which says nothing of who sent it."""
        reason = reason_of(error)
        if node and self._proven is not None and reason in MISCONDUCT:
            self._blamed.add(node)
        logger.log(
            logging.ERROR if reason in ALARMS else logging.WARNING, "a reply was set aside: %s: %s", reason, error
        )
        if len(self._quarantined) < MOST_TEXTS:
            self._quarantined.append(str(error))
        self._reasons[reason.value] += 1
        self.on_reply(What.REPLY_QUARANTINED, {"reason": reason.value, **({"node": node} if node else {})})

    def _template(self, num_users: int) -> Mapping[str, Tensor]:
        return self.codec(num_users).template(self.allowed)

    def _decoded(self, reply: TrainReply, asked: Asked) -> SharedState:
        """Return what the reply stands for, which is what counts: the bound is on what enters the sum."""
        if reply.num_users != asked.num_users:
            text = f"node {asked.key!r} speaks for {reply.num_users} users, asked were {asked.num_users}"
            raise QuarantineError(QuarantineReason.USERS, text)
        total = self.codec(reply.num_users).decode(reply.total, self.allowed)
        if self.bits is not None:
            return self._checked_integers(total, asked, 1 << (self.bits - 1))
        norm = _norm(without_bits(total))
        if not norm < float("inf"):
            raise QuarantineError(QuarantineReason.NOT_FINITE, f"the sum of node {asked.key!r} is not finite")
        if self.clip_norm is not None and norm > self._most(asked.num_users) * (1 + NORM_TOLERANCE):
            noise = f" with noise of {self.noise_std:g}" if self.noise_std else ""
            raise QuarantineError(
                QuarantineReason.BOUND,
                f"the sum of node {asked.key!r} has norm {norm:.6g}, {asked.num_users} users clipped to "
                f"{self.clip_norm:g}{noise} allow {self._most(asked.num_users):g}",
            )
        self._check_rows(total, asked)
        self._check_bits(total, asked)
        return total

    def _check_rows(self, total: SharedState, asked: Asked) -> None:
        """Raise if some item is moved by more than the node's users may: who poisons a model aims at few items."""
        if self.row_clip_norm is None:
            return
        most = asked.num_users * self.row_clip_norm
        for name in set(total) & set(ITEM_PARAMETERS):
            longest = float(total[name].double().norm(dim=1).max()) if total[name].dim() == 2 else 0.0
            if longest > most * (1 + NORM_TOLERANCE):
                raise QuarantineError(
                    QuarantineReason.BOUND,
                    f"a row of {name!r} of node {asked.key!r} has norm {longest:.6g}, {asked.num_users} users with "
                    f"rows clipped to {self.row_clip_norm:g} allow {most:g}",
                )

    def _most(self, num_users: int) -> float:
        """Return the largest norm of a sum of so many users; noise passes it once in ``exp(TAILS**2 / 2)`` times."""
        dimension = sum(tensor.numel() for tensor in self.allowed.values())
        noise = sqrt(num_users) * self.noise_std * (sqrt(dimension) + TAILS)
        return num_users * (self.clip_norm or 0.0) + noise

    def _checked_integers(self, total: SharedState, asked: Asked, half: int) -> SharedState:
        """Return integers modulo ``2 * half``: whatever they are, they may be the sum of bounded ones and noise."""
        for name, tensor in total.items():
            if tensor.numel() and not -half <= int(tensor.min()) <= int(tensor.max()) < half:
                text = f"tensor {name!r} of node {asked.key!r} is beyond the modulus {2 * half}"
                raise QuarantineError(QuarantineReason.BOUND, text)
        return total

    def _check_bits(self, total: SharedState, asked: Asked) -> None:
        if WITHIN not in total:
            return
        most, found = MOST_PER_USER * asked.num_users, float(total[WITHIN])
        if not abs(found) <= most:
            raise QuarantineError(
                QuarantineReason.BOUND,
                f"the sum of node {asked.key!r} counts {found:g} users within the clip norm less one half each, "
                f"{asked.num_users} users allow {most:g}",
            )


def fold_for(
    task: TrainTask,
    asked: Sequence[Asked],
    num_items: int,
    *,
    enrolment: Enrolment | None = None,
    sent: Mapping[str, int] | None = None,
    former: Collection[str] = frozenset(),
    rule: Rule | None = None,
    on_reply: Callable[[What, Mapping[str, Fact]], None] = _unheard,
    again: bool = False,
) -> Fold:
    """Return the fold of a round's replies; ``task``: of the whole cohort. The rest: see ``Fold`` and ``Seals``."""
    mechanism = task.mechanism
    shares = mechanism.fixed_point if mechanism and mechanism.placement == "distributed" else None
    return Fold(
        asked=asked,
        allowed=allowed_reply(task, num_items),
        clip_norm=mechanism.clip_norm if mechanism else None,
        row_clip_norm=_visible_rows(task),
        noise_std=mechanism.noise_std if mechanism and mechanism.placement == "device" else 0.0,
        bits=shares.bits if shares else None,
        codec=lambda num_users: reply_codec(task, num_users),
        seals=seals_of(enrolment, task, again=again),
        sent={} if sent is None else sent,
        former=former,
        rule=rule,
        on_reply=on_reply,
    )


def _weighed(total: SharedState, weight: float) -> SharedState:
    return total if weight == 1 else SharedState({name: tensor * weight for name, tensor in total.items()})


def _visible_rows(task: TrainTask) -> float | None:
    """Return the bound of rows where replies keep it: noise of devices and codecs do not leave rows as they are."""
    mechanism = task.mechanism
    if mechanism is None or mechanism.placement != "central" or task.codec.name != "none":
        return None
    return mechanism.row_clip_norm


def _norm(state: SharedState) -> float:
    """Return the L2 norm over all tensors together; NaN or infinity where any coordinate is.

    By blocks as float64: torch's own norm of float32 in float64 takes ten times as long.
    """
    squares = 0.0
    for tensor in state.values():
        flat = tensor.reshape(-1)
        for start in range(0, len(flat), _BLOCK):
            exact = flat[start : start + _BLOCK].double()
            squares += float(torch.dot(exact, exact))
    return sqrt(squares) if squares == squares else squares
