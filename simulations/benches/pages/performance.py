"""The page on performance: put together from stored measurements, and from prose that holds whatever they say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simulations.benches import plan
from simulations.benches.measurement import Measurement
from simulations.benches.pages import device_tables, race_tables
from simulations.benches.pages import performance_prose as prose
from simulations.benches.pages.bars import NOT_MEASURED, Found, bar_table
from simulations.benches.pages.earlier import Earlier, earlier_table


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with what is measured under it. ``benches``: each with its table. ``seen``: observations of a day."""

    title: str
    told: str
    benches: Mapping[str, Callable[[Found], str]]
    seen: str = ""


SECTIONS = (
    Section(
        title="Central training, the physical limit",
        told=prose.CENTRAL,
        benches={plan.CENTRAL_MF: race_tables.central_table, plan.CENTRAL_TRIO: race_tables.central_table},
        seen=prose.CENTRAL_SEEN,
    ),
    Section(
        title="Places of execution",
        told=prose.PLACES,
        benches={plan.PLACES_MF: race_tables.places_table, plan.PLACES_TRIO: race_tables.places_table},
    ),
    Section(title="pfl-research", told=prose.PFL, benches={plan.PFL: race_tables.pfl_table}, seen=prose.PFL_SEEN),
    Section(title="Growth", told=prose.SCALE, benches={plan.SCALE: race_tables.scale_table}),
    Section(title="Codecs", told=prose.CODECS, benches={plan.CODECS: race_tables.codec_table}, seen=prose.CODECS_SEEN),
    Section(title="Replies at the server", told=prose.AGGREGATE, benches={plan.AGGREGATE: race_tables.aggregate_table}),
    Section(title="Devices that come and go", told=prose.CHURN, benches={plan.CHURN: device_tables.churn_table}),
    Section(title="When devices come", told=prose.PACING, benches={plan.PACING: device_tables.pacing_table}),
    Section(
        title="Slow devices",
        told=prose.BUFFERED,
        benches={plan.BUFFERED: device_tables.buffered_table},
        seen=prose.BUFFERED_SEEN,
    ),
    Section(
        title="A device's local service",
        told=prose.SERVICE,
        benches={plan.DEVICE_SERVICE: device_tables.service_table},
    ),
    Section(
        title="A list without a socket",
        told=prose.INFERENCE,
        benches={plan.DEVICE_INFERENCE: device_tables.inference_table},
    ),
    Section(
        title="A training task on a device",
        told=prose.TRAINING,
        benches={plan.DEVICE_TRAINING: device_tables.training_table},
    ),
)


def performance_page(stored: Mapping[str, Measurement], earlier: Sequence[Earlier] = ()) -> str:
    """Return the page, as Markdown. ``stored``: measurements by bench; ``earlier``: figures published before."""
    parts = [prose.HEAD, _machines(stored), bar_table(stored)]
    if earlier:
        parts += [prose.EARLIER, earlier_table(stored, earlier)]
    for section in SECTIONS:
        parts += [f"## {section.title}", section.told]
        for bench, show in section.benches.items():
            parts += _measured(bench, stored.get(bench), show)
        parts += [section.seen] if section.seen else []
    return "\n\n".join([*parts, "## What privacy costs", prose.PRIVACY]) + "\n"


def _machines(stored: Mapping[str, Measurement]) -> str:
    machines = sorted({_machine(one) for one in stored.values()})
    if not machines:
        return "Nothing is stored: run `make bench`."
    return "Measured on:\n\n" + "\n".join(f"- {machine}" for machine in machines)


def _machine(one: Measurement) -> str:
    machine = one.machine
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}, Python {machine.python}, "
        f"torch {machine.torch}"
    )


def _measured(bench: str, one: Measurement | None, show: Callable[[Found], str]) -> list[str]:
    if one is None:
        return [f"`{bench}` was {NOT_MEASURED}."]
    told = f"```\n{one.command}\n```\n\nCode {one.origin}."
    if one.found is None:
        return [told, f"{NOT_MEASURED.capitalize()}: {one.failed}"]
    return [told, show(one.found)]
