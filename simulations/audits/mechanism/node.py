"""Odd users on a real node: what its answer changes by when one of them takes part, whatever their data are.

``clients.node.answer`` is called as the client app calls it, on a ``NodeStore`` in a temporary folder. The server's
noise is not in its answer; where devices add noise, the node is asked as if the server did, so that the sum is seen.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from clients.node import answer
from clients.store import NodeStore
from fedrec.audit.evidence.noise_tests import GAUSSIAN, Declared, noise_checks
from fedrec.audit.findings import Check
from fedrec.codecs import reply_codec
from fedrec.data.histories import Histories
from fedrec.flower.templates import allowed_reply
from fedrec.models.split import SharedState, structure_digest
from fedrec.privacy.adaptive_clipping import MOST_PER_USER, WITHIN, without_bits
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, Refusal, TrainTask, carried
from simulations.audits.checks import judged
from simulations.audits.probe import ITEMS, LATEST, Probe

ORDINARY = 5
"""Users beside the crafted one."""
MANY_EVENTS = 1000
TIMES_CLIP = 10.0
"""Norm of the crafted user's update over the clip norm that it is then given."""
UNBOUNDED = 1e9
SLACK = 1e-6
"""Relative slack of the bound, for numbers of 32 bits."""
ROUNDING = 2.0**-21
"""Relative error that the sum of the other users may add, for it is rounded to 32 bits twice."""
HUGE = 1e25
"""Factor on the model's parameters with which training passes the range of 32-bit floats."""

CRAFTED = ("one item again and again", "every item", "no events", "one event", "a thousand events", "infinite ratings")

LATER = ("one item again and again", "no events", "one event")
"""Left out where there is no time."""


@dataclass(kw_only=True)
class Bench:
    """A node with ordinary and crafted users, and tasks for it. ``kind``: what is asked for."""

    probe: Probe
    kind: Contribution
    mechanism: Mechanism
    folder: Path
    _asked: int = field(default=0, init=False)

    @cached_property
    def store(self) -> NodeStore:
        """The node, written when it is first asked for."""
        self.probe.catalogue.save(self.folder / "catalogue")
        histories = crafted_histories(np.random.default_rng(self.probe.scenario.run.seed))
        policy = replace(self.probe.policy(), max_clip_norm=UNBOUNDED * UNBOUNDED, max_local_steps=10**6)
        return NodeStore.create(
            self.folder / "node",
            key="node",
            users=[f"user-{number}" for number in range(len(histories))],
            histories=histories,
            catalogue="../catalogue",
            policy=policy,
            durable=False,
        )

    @cached_property
    def shared(self) -> SharedState:
        """The parameters of a new model."""
        return self.probe.model.shared_state()

    def task(self, users: list[int], mechanism: Mechanism, times: float = 1.0) -> TrainTask:
        """Return a task of a run of its own, whose private parameters are new; ``times``: factor on the parameters."""
        self._asked += 1
        scenario, carries = self.probe.scenario, carried(self.kind, self.shared)
        shared = SharedState({name: value * times for name, value in carries.items()})
        share = {"held_back": 0.0, "asked": 0.0}
        if self.kind in (Contribution.FUSION, Contribution.RANKS):
            share["held_back" if self.kind is Contribution.FUSION else "asked"] = 0.95
        return TrainTask(
            run_id=f"audit-{self._asked}",
            round=1,
            nonce=f"{self._asked:032x}",
            contribution=self.kind,
            shared=shared,
            model=scenario.model,
            model_digest=structure_digest(shared),
            catalogue_digest=self.probe.catalogue.digest,
            participants=np.asarray(users, dtype=np.int64),
            local=scenario.played.local.model_copy(update=share),
            mechanism=mechanism,
            interaction=scenario.privacy.interaction if self.kind is Contribution.UPDATE else None,
            codec=scenario.federation.codec,
        )

    def ask(self, task: TrainTask) -> SharedState | Refusal:
        """Return what the node's answer stands for, checked against what the protocol allows, or its refusal."""
        reply = answer(task, self.store)
        if isinstance(reply, Refusal):
            return reply
        allowed = allowed_reply(task, ITEMS)
        codec = reply_codec(task, reply.num_users)
        due = {name: (tuple(like.shape), like.dtype) for name, like in codec.template(allowed).items()}
        found = {name: (tuple(value.shape), value.dtype) for name, value in reply.total.items()}
        if found != due or reply.num_users != len(task.participants):
            raise UnfitReplyError(sorted(set(found.items()) ^ set(due.items()), key=str))
        return codec.decode(reply.total, allowed)

    def bounded(self, clip_norm: float) -> Mechanism:
        """Return the mechanism with its noise at the server, so that a node's answer is the bare sum."""
        row = self.mechanism.row_clip_norm
        return replace(
            self.mechanism,
            clip_norm=clip_norm,
            row_clip_norm=row and row / self.mechanism.clip_norm * clip_norm,
            placement="central",
            noise="gaussian",
            fixed_point=None,
            correlation=None,
            minimum_users=1,
        )

    def sum(self, users: list[int], clip_norm: float, times: float = 1.0) -> SharedState:
        """Return the sum of some users' clipped contributions, as the node sends it."""
        found = self.ask(self.task(users, self.bounded(clip_norm), times))
        if isinstance(found, Refusal):
            raise RefusedError(found)
        return found


class UnfitReplyError(Exception):
    """A node's answer has other tensors or users than its task allows."""


class RefusedError(Exception):
    """A node refused a task that it should do."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)


def crafted_histories(rng: np.random.Generator) -> Histories:
    """Return the events of ``ORDINARY`` users, of one to be scaled, and of ``CRAFTED``, in this order."""
    items = [rng.integers(0, ITEMS, int(rng.integers(3, 9))).tolist() for _ in range(ORDINARY)]
    items += [
        rng.permutation(ITEMS)[:8].tolist(),
        [3] * 8,
        list(range(ITEMS)),
        [],
        [5],
        rng.integers(0, ITEMS, MANY_EVENTS).tolist(),
        [1, 2, 3, 4],
    ]
    ratings = [[float(1 + item % 5) for item in row] for row in items]
    ratings[-1] = [math.inf, -math.inf, math.inf, 1e38]
    times = [[LATEST - 86_400.0 * (len(row) - place) for place in range(len(row))] for row in items]
    return Histories.from_lists(items, ratings, times)


def node_checks(
    probe: Probe, mechanism: Mechanism, kind: Contribution, folder: Path, *, prefix: str = "", quick: bool = False
) -> Iterator[Check]:
    """Yield whether one user, however odd, changes a node's answer by more than the clip norm. ``folder``: new."""
    bench = Bench(probe=probe, kind=kind, mechanism=mechanism, folder=folder)
    asks = "Does one odd user change a device's answer by more than the clip norm, or its outline at all?"
    name, what = f"{prefix}node-bound", f"contributions of kind {kind.value}"
    try:
        worst, faults = _bounds(bench, quick=quick)
    except UnfitReplyError as error:
        worst, faults = math.nan, [f"the answer's outline is not what the protocol allows: {error}"]
    except RefusedError as error:
        yield judged(name, asks, [], "").model_copy(
            update={"verdict": "not run", "found": f"the node refused the audit's task: {error}"}
        )
        return
    yield judged(
        name,
        asks,
        faults,
        f"No violation found for {what} of users of {TIMES_CLIP:g} clip norms, of {', of '.join(_looked_at(quick))}: "
        f"the largest change was {worst:.6f} clip norms.",
        figures={"largest change in clip norms": worst if math.isfinite(worst) else None},
        method="answers with and without the user, and of the user alone, of a node in a temporary folder",
    )
    if not quick and kind is Contribution.UPDATE and probe.scenario.privacy.interaction is None:
        yield _overflow(bench, f"{prefix}node-overflow")


def _looked_at(quick: bool) -> list[str]:
    return [words for words in CRAFTED if not (quick and words in LATER)]


def canary(bench: Bench) -> tuple[SharedState, SharedState]:
    """Return the sums without and with a user of ten clip norms, clipped by the node, in units of the clip norm."""
    others, far = list(range(ORDINARY)), ORDINARY
    clip_norm = _tight(bench, far)
    without, inside = bench.sum(others, clip_norm), bench.sum([*others, far], clip_norm)
    return _scaled(without, 1 / clip_norm), _scaled(inside, 1 / clip_norm)


def device_noise_checks(bench: Bench, answers: int) -> tuple[Check, ...]:
    """Return the checks of the noise in a real node's answers for a user who has no events, where devices add some."""
    mechanism = bench.mechanism
    if mechanism.placement == "central":
        return ()
    whole = mechanism.minimum_users if mechanism.placement == "distributed" else 1
    unit = mechanism.fixed_point.scale if mechanism.fixed_point else 1.0
    found = []
    for _ in range(answers):
        reply = bench.ask(bench.task([ORDINARY + 1 + CRAFTED.index("no events")], mechanism))
        if isinstance(reply, Refusal):
            return ()
        found.append({name: value.double().numpy() / unit for name, value in reply.items()})
    std = mechanism.noise_std / math.sqrt(whole)
    kurtosis = (std * unit) ** -2 if mechanism.noise == "skellam" else 0.0
    declared = Declared(excess_kurtosis=kurtosis, spacing=1 / (std * unit)) if mechanism.fixed_point else GAUSSIAN
    noise = {name: np.stack([one[name] for one in found]) for name in found[0]}
    return noise_checks(noise, dict.fromkeys(noise, std), declared=declared, prefix="device-")


def _tight(bench: Bench, user: int) -> float:
    """Return the clip norm of which a user's own contribution is ten times; that of statistics is what it is."""
    if bench.kind is not Contribution.UPDATE or bench.probe.scenario.privacy.interaction is not None:
        return bench.mechanism.clip_norm
    norm = norm_of(without_bits(bench.sum([user], UNBOUNDED)))
    return norm / TIMES_CLIP if norm > 0 else bench.mechanism.clip_norm


def _bounds(bench: Bench, *, quick: bool) -> tuple[float, list[str]]:
    """Return the largest change in clip norms, and what was beyond the bound."""
    others, faults, worst = list(range(ORDINARY)), [], 0.0
    clip_norm = _tight(bench, ORDINARY)
    before = None if bench.probe.scenario.privacy.interaction else bench.sum(others, clip_norm)
    for place, words in enumerate((f"{TIMES_CLIP:g} clip norms", *CRAFTED)):
        if quick and words in LATER:
            continue
        user = ORDINARY + place
        changes = []
        if before is not None:
            changes.append((_less(bench.sum([*others, user], clip_norm), before), norm_of(without_bits(before))))
        if before is None or not quick:
            changes.append((bench.sum([user], clip_norm), 0.0))
        for change, others_norm in changes:
            moved = norm_of(without_bits(change))
            if not moved <= clip_norm * (1 + SLACK) + ROUNDING * others_norm:
                faults.append(f"a user of {words} changes the answer by {moved / clip_norm:.6g} clip norms")
            if WITHIN in change and not abs(float(change[WITHIN])) <= MOST_PER_USER:
                faults.append(f"a user of {words} changes the count of users within by {float(change[WITHIN]):g}")
            worst = max(worst, moved / clip_norm)
    return worst, faults


def _overflow(bench: Bench, name: str) -> Check:
    """Judge parameters so large that training passes the range of floats: nobody adds what is not a number."""
    users, faults = list(range(ORDINARY)), []
    total = bench.sum(users, 1.0, times=HUGE)
    norm = norm_of(without_bits(total))
    if not norm <= len(users) * (1 + SLACK):
        faults.append(f"the answer has norm {norm:g}, {len(users)} users clipped to 1 allow {len(users)}")
    refused = bench.ask(bench.task(users, bench.bounded(1.0), times=math.nan))
    if not isinstance(refused, Refusal):
        faults.append("a task whose parameters are not numbers was answered")
    return judged(
        name,
        "Is nothing sent that is not a number, whatever a task's parameters are?",
        faults,
        f"Parameters times {HUGE:g} gave an answer of norm {norm:.4g}; parameters that are no numbers were refused.",
        figures={"norm": norm if math.isfinite(norm) else None},
    )


def _less(one: SharedState, other: SharedState) -> SharedState:
    return SharedState({name: one[name].double() - other[name].double() for name in one})


def _scaled(state: SharedState, factor: float) -> SharedState:
    """Return tensors of parameters times a factor; counts stay."""
    return SharedState({name: value if name == WITHIN else value * factor for name, value in state.items()})


def norm_of(state: SharedState) -> float:
    """Return the L2 norm over all tensors together; NaN or infinity where any coordinate is."""
    return float(torch.stack([value.double().square().sum() for value in state.values()]).sum().sqrt())
