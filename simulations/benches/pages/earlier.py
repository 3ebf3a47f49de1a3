"""Figures that were published before, beside those of now: what became slower has to be explained or mended."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from simulations.benches.figures import table
from simulations.benches.measurement import Measurement
from simulations.benches.pages.bars import Bar, judged

MUCH = 0.1
"""Share by which a figure has to be worse than the one before to count as worse."""


class Earlier(BaseModel):
    """A figure of a bar as it was published. ``why``: of the difference to now; empty where nothing is to be said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    value: float
    commit: str
    date: str
    machine: str
    why: str = ""


def read_earlier(path: Path) -> list[Earlier]:
    """Return the published figures; none where there is no file."""
    return TypeAdapter(list[Earlier]).validate_json(path.read_bytes()) if path.is_file() else []


def earlier_table(stored: Mapping[str, Measurement], earlier: Sequence[Earlier]) -> str:
    """Return then and now side by side; what is worse by more than ``MUCH`` is marked, and unexplained if it is."""
    return table(("what", "published", "by code", "now", "", "why"), _rows(stored, earlier))


def worse(bar: Bar, then: float, now: float) -> bool:
    """Return whether a figure is worse than the one before by more than ``MUCH`` of it."""
    return (then - now if bar.least else now - then) > MUCH * abs(then)


def _rows(stored: Mapping[str, Measurement], earlier: Sequence[Earlier]) -> Iterator[list[str]]:
    found = {one.bar.key: one for one in judged(stored)}
    for one in earlier:
        now = found[one.key]
        head = [now.bar.what, now.bar.shown(one.value), f"{one.commit}, {one.date}"]
        if now.value is None:
            yield [*head, "", "not measured", one.why]
            continue
        mark = "**worse**" if worse(now.bar, one.value, now.value) else ""
        why = one.why or ("unexplained" if mark else "")
        yield [*head, now.bar.shown(now.value), mark, why]
