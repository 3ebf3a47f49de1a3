"""Whether a watched run's ledger was written before what it speaks of, once for each release, and for every one."""

from collections import Counter
from collections.abc import Iterator

from fedrec.audit.findings import Check
from fedrec.errors import ProtocolError
from fedrec.flower.state_tensors import digest_of
from fedrec.flower.wire import read_task, write_arrays
from fedrec.models.split import SharedState, state_digest
from fedrec.rounds import carried
from simulations.audits.checks import judged
from simulations.audits.conduct.watch import Kept, Moment, Sent, Shown, Watch


def bookkeeping_checks(watch: Watch, initial: SharedState) -> Iterator[Check]:
    """Yield what a watched run's ledger says beside what the run did. ``initial``: the model that it began with."""
    yield _charge_before_noise(watch)
    yield _one_charge(watch)
    yield _nothing_unledgered(watch, initial)
    yield _published(watch)
    yield from _capped(watch)


def _charge_before_noise(watch: Watch) -> Check:
    early = [draw.round for draw in watch.draws() if not draw.of("charge", draw.round)]
    faults = [f"noise of round {round} was drawn before its charge" for round in early]
    adders = {one["round"]: one["mechanism"]["placement"] for one in _last(watch).of("charge")}
    for sent in watch.messages("task"):
        if adders.get(sent.round) in ("device", "distributed") and not sent.of("charge", sent.round):
            faults.append(f"devices were asked in round {sent.round} before its charge")
    drawn = {draw.round for draw in watch.draws()}
    for shown in watch.shown():
        if adders.get(shown.report.round, "central") == "central" and shown.report.round not in drawn:
            faults.append(f"the server drew no noise in round {shown.report.round}")
    return judged(
        "charge-before-noise",
        "Is each release on the ledger's file before its noise is drawn, or before devices that add it are asked?",
        sorted(set(faults)),
        f"The charges of all {len(adders)} releases were on the disk before.",
        figures={"releases": len(adders), "draws": len(watch.draws())},
        method="the ledger's file is read when noise is first drawn, and when each task leaves",
    )


def _one_charge(watch: Watch) -> Check:
    """Judge the rounds that ended: those that a failed run did not come to are not judged."""
    end, faults = _last(watch), []
    charges, aborted = end.of("charge"), {line["charge"] for line in end.of("abort")}
    outcomes = Counter(line["charge"] for line in end.of("commit") + end.of("abort"))
    ended = [shown.report.round for shown in watch.shown()]
    for round in ended:
        own = [line for line in charges if line["round"] == round]
        # of a round that came to nothing, what it showed may stand beside its charge, in full: that is more, not less
        if not own or len([line for line in own if line["entry"] not in aborted]) > 1:
            faults.append(f"round {round} has {len(own)} charges")
        faults += [f"the charge of round {round} has {n} outcomes" for one in own if (n := outcomes[one["entry"]]) != 1]
    return judged(
        "one-charge-per-release",
        "Is each release charged once, and is its outcome written once?",
        faults,
        f"Each of {len(ended)} rounds has one charge with one outcome.",
        figures={"releases": len(ended), "charges": len(charges)},
    )


def _nothing_unledgered(watch: Watch, initial: SharedState) -> Check:
    faults, changes = [], 0
    before, model = state_digest(initial), initial
    for moment in watch.moments:
        if isinstance(moment, Sent) and moment.kind == "task":
            faults += _broadcast_faults(moment, model)
        if not isinstance(moment, Kept | Shown) or state_digest(moment.state.shared) == before:
            continue
        state = moment.state
        before, model, changes = state_digest(state.shared), state.shared, changes + 1
        own = [line["entry"] for line in moment.of("charge", state.round)]
        made = {line["charge"] for line in moment.of("commit")}
        streamed = any(line["mechanism"].get("correlation") for line in moment.of("charge", state.round))
        if not own or not (made.issuperset(own) or streamed):  # a stream's outcome follows the checkpoint
            faults.append(f"the model changed in round {state.round}, of which the ledger has no finished release")
    return judged(
        "no-unledgered-release",
        "Does the model that the server shows change by releases on the ledger alone?",
        faults,
        f"The model changed {changes} times, each time by a release that the ledger had; nothing else was broadcast.",
        figures={"changes": changes},
        method="models in tasks, checkpoints and hooks beside the ledger's file at that moment",
    )


def _broadcast_faults(sent: Sent, model: SharedState) -> list[str]:
    """Return how the tensors of a task differ from those of the last released model that its round needs."""
    try:
        contribution = read_task(sent.message).contribution
    except ProtocolError as error:
        return [f"a task of round {sent.round} cannot be read: {error}"]
    due = {name: array.data for name, array in write_arrays(carried(contribution, model)).items()}
    sent_bytes = {name: data for name, (_, _, data) in sent.arrays.items()}
    odd = sorted(name for name in set(due) | set(sent_bytes) if due.get(name) != sent_bytes.get(name))
    return [f"tensor {odd[0]!r} of round {sent.round}'s tasks is not that of the released model"] if odd else []


def _published(watch: Watch) -> Check:
    faults, kept = [], 0
    moments: list[Kept | Shown] = [*watch.kept(), *watch.shown()]
    for moment in moments:
        if not moment.of("charge"):
            continue
        kept += 1
        line = next((one for one in moment.lines if one["hash"] == moment.state.ledger_head), None)
        if line is None or line["kind"] != "model":
            faults.append(f"the model of round {moment.state.round} rests on no line of the ledger")
        elif (line["round"], line["digest"]) != (moment.state.round, digest_of(moment.state)):
            faults.append(f"the ledger's digest of round {line['round']} is not that of the model of the round")
    return judged(
        "published-model-on-ledger",
        "Does the digest of each model that is kept or shown stand on the ledger before?",
        faults,
        f"It does for all {kept} times that a model was kept or shown.",
        figures={"models": kept},
    )


def _capped(watch: Watch) -> Iterator[Check]:
    """Yield whether cohorts stay within their cap, where there is one."""
    caps = {one["round"]: one["mechanism"]["cohort_cap"] for one in _last(watch).of("charge")}
    if not any(caps.values()):
        return
    asked: dict[int, dict[str, int]] = {}
    for sent in watch.messages("task"):
        if sent.round is not None and caps.get(sent.round):
            users = dict(sent.content.config_records["task"])["participants"]
            asked.setdefault(sent.round, {})[sent.nonce] = len(users) if isinstance(users, list) else 0
    sizes = {round: sum(by_node.values()) for round, by_node in asked.items()}
    yield judged(
        "cohort-cap",
        "Is no cohort larger than its cap?",
        [
            f"round {round} asked {size} users, its cap is {caps[round]}"
            for round, size in sizes.items()
            if size > caps[round]
        ],
        f"The largest of {len(sizes)} cohorts had {max(sizes.values(), default=0)} users.",
        figures={"cohorts": len(sizes), "largest": max(sizes.values(), default=0)},
    )


def _last(watch: Watch) -> Moment:
    return Moment(ledger=watch.now())
