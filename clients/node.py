"""What a node does with a task: judge it, charge its own ledger, train, keep the private part, answer. Free of Flower.

The order is the promise: nothing private is read before the policy, the catalogue, the tensors and the budget have
been checked, and nothing is answered before it is on the disk.
"""

import logging
import math
from collections.abc import Callable
from functools import lru_cache

import torch

from clients.artefacts.versions import MANIFEST
from clients.charging import charge_for
from clients.contributions import Step, contribute, private_of
from clients.encoding import encoded_total
from clients.guard.device_guard import no_space
from clients.installed import catalogue_of, model_for
from clients.local_store import ConsentError, StoreUnwritableError
from clients.policy import Objection
from clients.store import NodeStore
from fedrec.config import LocalConfig
from fedrec.config.proven import interaction_objection
from fedrec.errors import MemoryBudgetError, ModelMismatchError, ProtocolError, SignatureError
from fedrec.faults import reach
from fedrec.flower.templates import allowed_reply
from fedrec.models import FusedRecommender
from fedrec.models.split import SharedState, check_fits, state_digest, structure_digest
from fedrec.privacy.noise.fixed_point import check_encoding
from fedrec.rounds import (
    Contribution,
    NodeCard,
    Refusal,
    RefusalReason,
    TrainReply,
    TrainTask,
    carried,
    release_name,
)
from fedrec.signing.manifest import Manifest
from fedrec.statistics.collection import needed_statistics
from fedrec.statistics.recency import RECENCY
from fedrec.training.memory import bytes_per_user


def card(store: NodeStore) -> NodeCard:
    """Return what the node says of itself when it enrols."""
    return NodeCard(key=store.key, num_users=store.num_users, catalogue_digest=catalogue_of(store).digest)


logger = logging.getLogger(__name__)

Seal = Callable[[TrainTask, TrainReply], TrainReply]
"""What is added to an encoded reply before it is written and sent, so that who wrote it for what can be told."""


def unsealed(task: TrainTask, reply: TrainReply) -> TrainReply:
    """Return a reply as it is: the seal of nodes whose server keeps no list of keys."""
    return reply


def answer(task: TrainTask, store: NodeStore, seal: Seal = unsealed) -> TrainReply | Refusal:
    """Do a round's work on the node's users, or say why not.

    A task that comes again gets the reply that was written for it, and nothing is trained, charged or sealed twice. The
    order of effects: charges on the disk, private rows read, noise, seal, outbox on the disk, outcomes on the ledger,
    new private parameters. Whoever consents no longer when the noise is drawn sends nothing.
    """
    objection = store.policy.objection(task)
    written = None if objection else store.outbox.find(task.nonce)
    if written is not None:
        return _again(task, written, store)
    objection = objection or (store.guard.objection(store.policy) if store.guard else None) or _misfit(task, store)
    objection = objection or _lack_of_memory(task, store) or (store.guard.suspicion(task) if store.guard else None)
    objection = objection or charge_for(task, store)
    if objection is not None:
        return Refusal(nonce=task.nonce, reason=objection.reason, detail=objection.detail)
    try:
        return _answered(task, store, seal)
    except MemoryBudgetError as error:  # nobody's update is bounded, and a history is long: its length is not told
        detail = f"a user's history does not fit memory_mib = {error.given_mib} of this node"
        return _abandoned(task, store, Objection(reason=RefusalReason.MEMORY, detail=detail))
    except ConsentError as error:
        return _abandoned(task, store, Objection(reason=RefusalReason.CONSENT, detail=str(error)))


def _answered(task: TrainTask, store: NodeStore, seal: Seal) -> TrainReply | Refusal:
    """Train, write the reply, and then what came of it."""
    steps: list[Step] = []
    total = encoded_total(task, contribute(task, store, steps.append))
    reach("noise.drawn")
    if store.guard and not store.guard.consents():
        raise ConsentError("the owner withdrew consent while this device trained")
    reply = seal(task, TrainReply(nonce=task.nonce, total=total, num_users=len(task.participants)))
    try:
        reach("outbox.putting")
        store.outbox.put(reply)
    except (OSError, StoreUnwritableError) as error:
        objection = no_space(error)
        if store.guard is None or objection is None:
            raise
        return _abandoned(task, store, objection)
    reach("outbox.put")
    if store.guard:
        store.guard.settle(state_digest(SharedState(reply.total)))
        reach("ledger.committed")
    _keep(steps, store)
    return reply


def _keep(steps: list[Step], store: NodeStore) -> None:
    """Let new private parameters count. The reply is out: a device without room for them goes on with the old ones."""
    try:
        for step in steps:
            step()
    except OSError as error:
        if store.guard is None or no_space(error) is None:
            raise
        logger.warning("no room for the private parameters of a round: those before it stay")
    reach("private.committed")


def _again(task: TrainTask, written: TrainReply, store: NodeStore) -> TrainReply:
    """Return a written reply; a process that died after it was written may not have said so on the ledger."""
    if store.guard:
        name, digest = release_name(task.contribution, task.model), state_digest(SharedState(written.total))
        store.guard.settle_again(task.run_id, name, task.round, digest)
    return written


def _abandoned(task: TrainTask, store: NodeStore, objection: Objection) -> Refusal:
    """Return the refusal of a task that was charged, and stays so."""
    if store.guard:
        store.guard.abandon(objection.reason.value)
    return Refusal(nonce=task.nonce, reason=objection.reason, detail=objection.detail)


def _misfit(task: TrainTask, store: NodeStore) -> Objection | None:
    """Return why the task does not fit the node's catalogue, model or users."""
    catalogue = catalogue_of(store)
    if task.catalogue_digest != catalogue.digest:
        detail = f"this node has catalogue {catalogue.digest[:12]}, the task is for {task.catalogue_digest[:12]}"
        return Objection(reason=RefusalReason.CATALOGUE, detail=detail)
    foreign = _foreign_catalogue(catalogue.digest, store)
    if foreign is not None:
        return foreign
    if task.participants[-1] >= store.num_users:
        detail = f"this node has {store.num_users} users, asked was number {task.participants[-1]}"
        return Objection(reason=RefusalReason.PARTICIPANTS, detail=detail)
    template = carried(task.contribution, SharedState(dict(model_for(task, store).shared.named_parameters())))
    try:
        check_fits(task.shared, template, "the task")
    except ModelMismatchError as error:
        return Objection(reason=RefusalReason.TENSORS, detail=str(error))
    if structure_digest(task.shared) != task.model_digest:
        return Objection(reason=RefusalReason.MODEL, detail="the task's tensors are not those of its model digest")
    odd = [name for name, tensor in sorted(task.shared.items()) if not bool(torch.isfinite(tensor).all())]
    if odd:
        return Objection(reason=RefusalReason.TENSORS, detail=f"tensor {odd[0]!r} of the task is not finite")
    if task.contribution is Contribution.FUSION and not task.model.members:
        detail = "the task asks for the weights of a fusion, and its model has no members to weigh"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    if task.contribution is Contribution.FACTORS and "ials" not in task.model.members:
        detail = "the task asks for sums that items of ials are solved from, and its model has no such member"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    unfit = _unfit_noise(task, catalogue.num_items)
    if unfit is not None:
        return Objection(reason=RefusalReason.PROTOCOL, detail=unfit)
    if RECENCY in needed_statistics(task.model) and task.model.recency_end is None:
        detail = "the task's model counts by time, and does not say until when: set model.recency_end"
        return Objection(reason=RefusalReason.PROTOCOL, detail=detail)
    return _uncovered(task, store)


def _foreign_catalogue(digest: str, store: NodeStore) -> Objection | None:
    """Return why the installed catalogue is not of the one signer that the policy names, if it names one."""
    if not store.policy.catalogue_signer:
        return None
    try:
        content = (store.catalogue_folder / MANIFEST).read_bytes()
        found = Manifest.read(content, store.policy.catalogue_signer, "catalogue").catalogue_digest
    except (OSError, SignatureError):
        found = ""
    if found == digest:
        return None
    detail = f"the installed catalogue is not signed by catalogue_signer = {store.policy.catalogue_signer[:16]}..."
    return Objection(reason=RefusalReason.CATALOGUE, detail=detail)


def _unfit_noise(task: TrainTask, num_items: int) -> str | None:
    """Return why noise on this device cannot be as the task has it, None if it can or is the server's to add."""
    mechanism = task.mechanism
    if mechanism is None or mechanism.placement == "central":
        return None
    if task.codec.name != "none":
        return f"{mechanism.placement} noise is on what is sent, which codec {task.codec.name} would change"
    if mechanism.fixed_point is None:
        return None
    dimension = sum(value.numel() for value in allowed_reply(task, num_items).values())
    try:
        check_encoding(mechanism.fixed_point, mechanism.clip_norm, dimension)
    except ProtocolError as error:
        return str(error)
    return None


def _uncovered(task: TrainTask, store: NodeStore) -> Objection | None:
    """Return what the interaction-level layer, if the task asks for it, would not cover of what is sent."""
    if task.interaction is None:
        return None
    objection = interaction_objection(task.model, task.local)
    if task.mechanism and (task.mechanism.row_clip_norm or task.mechanism.count_noise):
        objection = "clips a user's update as a whole, by a norm that is given"
    if task.contribution is not Contribution.UPDATE:
        objection = f"covers updates alone, and the task asks for {task.contribution.value}"
    elif not objection and not private_of(task, store, model_for(task, store)).noised:
        objection = "cannot cover private parameters that were trained without it: begin a new run"
    if objection is None:
        return None
    return Objection(reason=RefusalReason.PROTOCOL, detail=f"the interaction-level layer {objection}")


def _lack_of_memory(task: TrainTask, store: NodeStore) -> Objection | None:
    """Return what is missing to train one user of a full window, whatever the node's users have done."""
    if task.contribution is not Contribution.UPDATE or task.interaction is not None:
        return None
    events = task.model.history_length + 1
    by_row = task.mechanism is not None and task.mechanism.row_clip_norm is not None
    need = _need(model_for(task, store), task.local, events, clipped=task.mechanism is not None, by_row=by_row)
    if need <= store.memory_mib * 2**20:
        return None
    detail = f"one user needs {math.ceil(need / 2**20)} MiB, memory_mib of this node is {store.memory_mib}"
    return Objection(reason=RefusalReason.MEMORY, detail=detail)


@lru_cache(maxsize=8)
def _need(model: FusedRecommender, local: LocalConfig, events: int, *, clipped: bool, by_row: bool) -> int:
    """Return the bytes that one user needs: the same for all nodes of a process, which have the model in common."""
    return bytes_per_user(model, local, events, clipped, by_row)
