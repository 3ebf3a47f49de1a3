"""Tables of devices: what a list and a task cost, and what fleets of them do, from what is stored."""

from pydantic import TypeAdapter

from simulations.benches.device_inference import Found as InferenceFound
from simulations.benches.device_service import Found as ServiceFound
from simulations.benches.device_service import Latency
from simulations.benches.device_training import Found as TrainingFound
from simulations.benches.device_training import Kind
from simulations.benches.figures import figure, table, with_range
from simulations.benches.pages.bars import Found
from simulations.benches.racing import Spread
from simulations.churn.buffered import Lap
from simulations.churn.pacing import Paced

TASKS: dict[Kind, str] = {
    "dense": "all tables",
    "rows": "all tables, rows bounded",
    "low-rank": "all tables, sent with rank 4",
    "device-noise": "all tables, noise added on the device",
}
"""What a kind of task asks for, in words."""


def service_table(found: Found) -> str:
    """Return latencies, cold start and memory of the local service."""
    service = TypeAdapter(ServiceFound).validate_python(found)
    beside = [("list, beside training", service.beside_training)] if service.beside_training else []
    named = [
        ("list", service.alone),
        *beside,
        ("list with reasons", service.explained),
        ("event kept", service.recorded),
    ]
    head = ("", "p50, ms", "p95, ms", "p99, ms", "longest, ms", "service's own processor time, ms")
    starts = with_range(Spread.of(service.starts))
    return (
        f"{table(head, [[name, *_latency(one)] for name, one in named])}\n\n"
        f"Cold start to the first list: {starts} s. Resident memory {service.rss_mib:.0f} MiB, at most "
        f"{service.peak_mib:.0f}. Tasks that were finished beside the lists: {service.trained}."
    )


def _latency(one: Latency) -> list[str]:
    return [figure(value) for value in (one.p50, one.p95, one.p99, one.longest, one.cpu)]


def training_table(found: Found) -> str:
    """Return memory, bytes and seconds of one task by kind."""
    rows = [
        [
            TASKS[one.task.kind],
            f"{one.peak_mib:.0f}",
            f"{one.imported_mib:.0f}",
            f"{one.seconds:.1f}",
            f"{one.import_seconds:.1f}",
            f"{one.bytes_down / 1e6:.1f}",
            f"{one.bytes_up / 1e6:.1f}",
        ]
        for one in TypeAdapter(list[TrainingFound]).validate_python(found["tasks"])
    ]
    return table(("update", "peak resident, MiB", "of it imports", "s", "s of imports", "MB down", "MB up"), rows)


def inference_table(found: Found) -> str:
    """Return milliseconds a list and memory by kind of model."""
    rows = [
        [
            one.model,
            f"{one.after_event.p50:.2f}",
            f"{one.after_event.p95:.2f}",
            f"{one.again.p50:.2f}",
            f"{one.explained.p50:.2f}",
            f"{one.megabytes:.1f}",
            f"{one.load:.2f}",
            f"{one.peak_mib:.0f}",
        ]
        for one in TypeAdapter(list[InferenceFound]).validate_python(found["models"])
    ]
    head = ("model", "after an event, ms: p50", "p95", "again: p50", "with reasons: p50")
    return table((*head, "MB on the disk", "s to load", "resident MiB at most"), rows)


def buffered_table(found: Found) -> str:
    """Return how good each way of ending a round is, and how soon it is as good as the others."""
    races = TypeAdapter(dict[str, dict[str, Lap]]).validate_python(found["laps_by_seed"])
    rows = []
    for seed, laps in races.items():
        marks = list(laps)[:-1]
        for name, lap in laps.items():
            reached = [lap.reached(laps[mark].last.metric) for mark in marks]
            rows.append(
                [
                    f"{name}, seed {seed}",
                    str(lap.steps),
                    f"{lap.replies} of {lap.asked}",
                    f"{lap.last.metric:.4f}",
                    f"{lap.last.of_slow:.4f}",
                    *(f"{look.hours:.2f}" if look else "not reached" for look in reached),
                ]
            )
    marks = list(next(iter(races.values())))[:-1]
    head = ("a round ends with", "steps", "replies of tasks", "NDCG@10", "of slow devices' users")
    return table((*head, *(f'hours until as good as "{mark}" ended' for mark in marks)), rows)


def churn_table(found: Found) -> str:
    """Return what rounds, ledger and memory did over a fleet that comes and goes."""
    rounds = found["committed"] + found["abandoned"]
    rows = [
        ["rounds committed", f"{found['committed']} of {rounds}"],
        ["usable replies of those asked", f"{found['usable']} of {found['asked']}"],
        ["charges on the ledger", str(found["charges"])],
        ["epsilon on the ledger, recomputed", f"{found['epsilon']:.4f}, {found['recomputed']:.4f}"],
        ["memory of the process", f"{found['rss_mib'][-1]:.0f} MiB, {found['rss_slope']:+.3f} MiB a round"],
        ["virtual time", f"{found['hours']:.1f} h"],
    ]
    return table((f"{found['work']['nodes']:,} devices", "found"), rows)


def pacing_table(found: Found) -> str:
    """Return each day's peak with and without hints."""
    one = TypeAdapter(Paced)
    unpaced, paced = (one.validate_python(found[name]) for name in ("unpaced", "paced"))
    rows = [
        [
            str(day.number),
            f"{without.peak:.1f}",
            f"{day.peak:.2f}",
            f"{day.waited / 60:.0f}",
            f"{day.missed} of {day.checkins}",
        ]
        for without, day in zip(unpaced.days, paced.days, strict=True)
    ]
    head = ("day", "peak over the mean, without hints", "with", "mean wait, minutes", "away again before the moment")
    return table(head, rows)
