"""What a task costs a node's users, written on the node's own ledger before it happens."""

from clients.guard.device_guard import no_space
from clients.installed import catalogue_of
from clients.local_store import StoreUnwritableError
from clients.participation import stream_of, turn_objection
from clients.policy import Objection, Policy
from clients.store import NodeStore
from fedrec.codecs import reply_codec
from fedrec.errors import LedgerError
from fedrec.faults import reach
from fedrec.flower.templates import allowed_reply
from fedrec.privacy.accounting.accountant import grouped, process_accountant
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.events import Event, unamplified
from fedrec.privacy.guarantee import INTERACTION_LEVEL, USER_LEVEL
from fedrec.privacy.interaction_level import interaction_mechanism
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.origin import FROM_SYSTEM
from fedrec.privacy.noise.source import GENERATOR
from fedrec.privacy.placement import guarantee_for
from fedrec.rounds import (
    Contribution,
    RefusalReason,
    TrainTask,
    release_name,
)


def charge_for(task: TrainTask, store: NodeStore) -> Objection | None:
    """Write the round on the device's ledger before it happens.

    Object if a budget of the policy forbids it, or if it is nobody's turn yet in a stream of correlated noise.
    """
    num_bytes = _bytes_of(task, store)
    today = store.guard.bytes_today() if store.guard else 0
    objection = turn_objection(task, store) or store.policy.to_bytes(num_bytes, today)
    if objection is not None:
        return objection
    planned = _planned(task, store)
    objection = _to_lifetime(planned, store) or _to_pace(task, store)
    if objection is not None:
        return objection
    try:
        _reserve(planned, num_bytes, store)
    except (OSError, LedgerError, StoreUnwritableError) as error:
        objection = no_space(error)
        if store.guard is None or objection is None:
            raise
        return objection
    return None


def _reserve(planned: list[tuple[Release, Budget]], num_bytes: int, store: NodeStore) -> None:
    """Write charges, on the disk when this returns; of a deployed device also that the task was begun."""
    if store.guard:
        store.guard.begin(num_bytes)
    reach("ledger.reserving")
    charges = [store.ledger.charge(release, budget) for release, budget in planned]
    if store.guard:
        store.guard.reserved(charges)
    reach("ledger.reserved")


def _to_lifetime(planned: list[tuple[Release, Budget]], store: NodeStore) -> Objection | None:
    """Return why the ledger does not hold what is planned."""
    detail = ""
    rounds = len({(charge.run_id, charge.round) for charge in store.ledger.charges()}) if planned else 0
    if planned and rounds >= store.policy.max_rounds:
        detail = f"the policy says max_rounds = {store.policy.max_rounds}, the ledger has {rounds}"
    for release, budget in planned:
        if not detail and store.ledger.would_exceed(release.spent, budget, release.guarantee):
            unit, limit = release.guarantee.unit, f"epsilon {budget.epsilon:g} at delta {budget.delta:g}"
            detail = f"the {unit}-level budget of {limit} does not hold another round"
    if not detail:
        return None
    if store.guard:
        store.guard.refused(detail, store.policy)
    return Objection(reason=RefusalReason.BUDGET, detail=detail)


def _to_pace(task: TrainTask, store: NodeStore) -> Objection | None:
    """Return that one round, or the rounds of a day, would cost more than the policy lets them.

    Each counts as the one release that the device takes part in: what amplification charges for rounds that it was not
    drawn in, the lifetime's budget holds.
    """
    if task.mechanism is None:
        return None
    policy, guarantee = store.policy, guarantee_for(task.mechanism)
    own = _once(task.mechanism, f"{task.run_id}/{release_name(task.contribution, task.model)}", policy)
    today = store.guard.charges_today() if store.guard and policy.epsilon_per_day is not None else []
    before = [
        _once(charge.mechanism, f"{charge.run_id}/{charge.name}", policy)
        for charge in today
        if charge.guarantee == guarantee
    ]
    for limit, most, events in (
        ("epsilon_per_round", policy.epsilon_per_round, [own]),
        ("epsilon_per_day", policy.epsilon_per_day if store.guard else None, [*before, own]),
    ):
        if most is None:
            continue
        accountant = process_accountant(replaced=guarantee.adjacency == "replace-one")
        epsilon = accountant.epsilon(grouped(events), policy.delta)
        if epsilon > most:
            detail = f"the policy says {limit} = {most:g}, asked was epsilon {epsilon:.3g} at delta {policy.delta:g}"
            return Objection(reason=RefusalReason.BUDGET, detail=detail)
    return None


def _once(mechanism: Mechanism, stream: str, policy: Policy) -> Event:
    """Return what one release costs; of a stream of correlated noise, what the whole stream does."""
    event = mechanism.spends(stream=stream)
    return event if policy.trust_sampling and mechanism.amplified else unamplified(event)


def _bytes_of(task: TrainTask, store: NodeStore) -> int:
    """Return the bytes of the task's tensors and of its reply's, 0 where nobody limits or counts them."""
    if store.guard is None and store.policy.max_bytes_per_task is None:
        return 0
    decoded = allowed_reply(task, catalogue_of(store).num_items)
    encoded = reply_codec(task, len(task.participants)).template(decoded)
    return sum(value.nbytes for tensors in (task.shared, encoded) for value in tensors.values())


def _planned(task: TrainTask, store: NodeStore) -> list[tuple[Release, Budget]]:
    """Return what the round spends on this node's users, with the budget that each part must fit."""
    planned = []
    name = release_name(task.contribution, task.model)
    if task.mechanism is not None:
        missed = _missed(task, store)
        planned += [(missed, store.policy.budget)] if missed else []
        event, elsewhere = _event(task.mechanism, task, store), task.mechanism.placement == "central"
        release = Release(
            run_id=task.run_id,
            round=task.round,
            name=name,
            mechanism=task.mechanism,
            noise_source="server" if elsewhere else FROM_SYSTEM,
            generator="" if elsewhere else GENERATOR,
            guarantee=guarantee_for(task.mechanism),
            event=event,
            participants=tuple(task.participants.tolist()) if task.mechanism.correlation else None,
        )
        planned.append((release, store.policy.budget))
    if task.interaction is not None:
        release = Release(
            run_id=task.run_id,
            round=task.round,
            name="interaction",
            mechanism=interaction_mechanism(task.model, task.interaction),
            noise_source=FROM_SYSTEM,
            generator=GENERATOR,
            guarantee=INTERACTION_LEVEL,
            steps=task.local.steps,
        )
        epsilon = min(task.interaction.epsilon, store.policy.interaction_epsilon)
        planned.append((release, Budget(epsilon=epsilon, delta=store.policy.delta)))
    return planned


def _event(mechanism: Mechanism, task: TrainTask, store: NodeStore) -> Event:
    """Return what taking part costs this node's users, as far as the node can know.

    Amplification by sampling holds for a user who may or may not have been drawn, so all rounds since the last one
    that this node saw are charged, not only those that drew it. Without trust in the sampling, a round costs in full.
    What is not amplified costs the rounds that the node takes part in, in full, and no others.
    A stream of correlated noise costs the same whenever its rounds are, as long as they keep to its contract.
    """
    if mechanism.correlation:
        return mechanism.spends(stream=stream_of(task))
    if not (store.policy.trust_sampling and mechanism.amplified):
        return unamplified(mechanism.event)
    once = task.contribution is Contribution.RANKS
    steps = 1 if once else max(1, task.round - _last_seen(task, store))
    return mechanism.spends(steps)


def _last_seen(task: TrainTask, store: NodeStore) -> int:
    """Return the last round of the task's run that this node has charged, 0 for none."""
    return max((charge.round for charge in store.ledger.charges() if charge.run_id == task.run_id), default=0)


def _missed(task: TrainTask, store: NodeStore) -> Release | None:
    """Return the rounds before an evaluation that may have drawn this node's users without its knowing.

    The evaluation's own mechanism is another, so these are charged by that of the last round that the node took part
    in; one that took part in none was drawn in none that it could know the noise of, and takes the evaluation's.
    """
    missed = task.round - 1 - _last_seen(task, store)
    if task.contribution is not Contribution.RANKS or missed < 1 or not store.policy.trust_sampling:
        return None
    own = [c for c in store.ledger.charges() if c.run_id == task.run_id and c.round and c.guarantee == USER_LEVEL]
    mechanism = own[-1].mechanism if own else task.mechanism
    if mechanism is None or not mechanism.amplified:  # no round that did not ask this node costs it anything
        return None
    return Release(
        run_id=task.run_id,
        round=task.round - 1,
        name=own[-1].name if own else "training",
        mechanism=mechanism,
        noise_source="server",
        event=mechanism.spends(missed),
    )
