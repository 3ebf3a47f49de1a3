"""Uploads as nodes make them: the production path from a user's history to what somebody sees.

What a user contributes comes of ``clients.contributions``, noise on devices of ``fedrec.privacy.release.device_part``,
encodings of ``clients.encoding``, what is published of ``fedrec.privacy.release.release``. One thing differs: noise is
drawn from a seeded source, so that an audit can be repeated.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clients.contributions import contribute
from clients.encoding import encoded_total
from clients.policy import Policy
from clients.store import NodeStore
from fedrec.codecs import bounded_roundtrip, reply_codec, round_codec
from fedrec.codecs.replies import codes_each_user
from fedrec.config import CodecConfig
from fedrec.flower.templates import allowed_reply
from fedrec.models.split import SharedState, structure_digest
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.fixed_point import wrapped
from fedrec.privacy.noise.source import NoiseSource
from fedrec.privacy.release import device_part, release, summed
from fedrec.rounds import Contribution, TrainTask, carried
from simulations.audits.attacks.people import People
from simulations.audits.attacks.views import View

TOGETHER = 8
"""Contributions that are held at a time before they are added up."""


class Devices:
    """The attacked users on nodes of their own, in a folder that lasts as long as the attack.

    Each lane has its own private parameters, which move with its rounds: ``plain`` without a mechanism, ``clipped``
    under its bounds.
    """

    def __init__(self, people: People, folder: Path) -> None:
        people.catalogue.save(folder / "catalogue")
        self._stores = {
            lane: NodeStore.create(
                folder / lane,
                key=lane,
                users=people.keys,
                histories=people.histories,
                catalogue="../catalogue",
                policy=Policy(consent=True, allow_unprotected=True),
                durable=False,
                memory_mib=people.scenario.run.memory_mib,
            )
            for lane in ("plain", "clipped")
        }

    def part(self, task: TrainTask, user: int) -> SharedState:
        """Return what a user contributes to a task: bounded as its mechanism says, without noise or encoding."""
        bounds = None if task.mechanism is None else without_noise(task.mechanism)
        alone = replace(task, participants=np.array([user]), mechanism=bounds, codec=CodecConfig())
        return contribute(alone, self._stores["plain" if bounds is None else "clipped"])


def without_noise(mechanism: Mechanism) -> Mechanism:
    """Return the mechanism as a device has it whose noise the server adds: the bounds alone."""
    return Mechanism(
        clip_norm=mechanism.clip_norm,
        row_clip_norm=mechanism.row_clip_norm,
        noise_multiplier=mechanism.noise_multiplier,
        sample_rate=mechanism.sample_rate,
        population=mechanism.population,
    )


def task_of(people: People, contribution: Contribution, shared: SharedState, round: int, view: View) -> TrainTask:
    """Return the task that asks for the uploads of a view."""
    read = carried(contribution, shared)
    return TrainTask(
        run_id="attack",
        round=round,
        nonce="attack",
        contribution=contribution,
        shared=read,
        model=people.scenario.model,
        model_digest=structure_digest(read),
        catalogue_digest=people.catalogue.digest,
        participants=np.arange(view.users),
        local=people.scenario.played.local,
        mechanism=view.mechanism,
        codec=view.codec,
    )


class Upload:
    """What is seen of a few users, whose contributions are added one after another."""

    def __init__(self, task: TrainTask, view: View, num_items: int, source: NoiseSource) -> None:
        self._task, self._view, self._source, self._num_items = task, view, source, num_items
        self._waiting: list[SharedState] = []
        self._total: SharedState | None = None
        self.users = 0

    def add(self, part: SharedState) -> None:
        """Add a user's contribution."""
        if codes_each_user(self._task) and not self._view.of_one:
            assert self._task.mechanism is not None  # or no user's own would be coded
            part = bounded_roundtrip(part, round_codec(self._task), self._task.mechanism.clip_norm)
        self._waiting.append(part)
        self.users += 1
        if len(self._waiting) == TOGETHER:
            self._send()

    def seen(self) -> SharedState:
        """Return what the attacker sees of all of them, as float tensors by name."""
        if self._waiting:
            self._send()
        self._fill_up()
        total, mechanism = self._total, self._task.mechanism
        if total is None:
            raise ValueError("nobody contributed: there is nothing to see")
        if mechanism is not None and mechanism.placement == "distributed":
            return SharedState({name: value.float() for name, value in _opened(total, mechanism).items()})
        if self._view.published and mechanism is not None:
            return release(total, mechanism, self._source)
        template = allowed_reply(replace(self._task, codec=CodecConfig()), self._num_items)
        return reply_codec(self._task, self.users).decode(encoded_total(self._lone, total), template)

    @property
    def _lone(self) -> TrainTask:
        return replace(self._task, participants=np.arange(self.users))

    def _send(self) -> None:
        """Let the devices of those who wait send, and add up what they sent."""
        sent = device_part(self._waiting, len(self._waiting), self._noise(), self._source)
        self._waiting = []
        self._total = sent if self._total is None else _added(self._total, sent)

    def _noise(self) -> Mechanism | None:
        """Return the mechanism; where shares are drawn one by one, with few that make up the whole."""
        mechanism = self._task.mechanism
        if mechanism is None or not self._view.summed_securely or mechanism.noise == "skellam":
            return mechanism
        return replace(mechanism, minimum_users=min(mechanism.minimum_users, self._view.users))

    def _fill_up(self) -> None:
        """Add the shares of devices with nothing to tell: a round has as many, and here fewer users are summed."""
        mechanism, total = self._noise(), self._total
        if mechanism is None or total is None or not self._view.summed_securely:
            return
        missing = mechanism.minimum_users - self.users
        if missing > 0:
            nothing = SharedState({name: torch.zeros(value.shape) for name, value in total.items()})
            self._total = _added(total, device_part([nothing], missing, mechanism, self._source))


def _added(total: SharedState, sent: SharedState) -> SharedState:
    if any(value.is_floating_point() for value in sent.values()):
        return summed([total, sent])
    return SharedState({name: value.long() + sent[name].long() for name, value in total.items()})


def _opened(total: SharedState, mechanism: Mechanism) -> SharedState:
    assert mechanism.fixed_point is not None  # a distributed mechanism has one
    bits = mechanism.fixed_point.bits
    ints = SharedState({name: wrapped(value.long(), bits).to(torch.int32) for name, value in total.items()})
    return release(ints, mechanism, _NO_NOISE)


_NO_NOISE = NoiseSource(bytes(32), "none is drawn: devices have added theirs")


def mean_of(parts: Sequence[SharedState]) -> SharedState:
    """Return the mean of contributions."""
    total = summed(parts)
    return SharedState({name: value / len(parts) for name, value in total.items()})
