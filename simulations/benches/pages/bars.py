"""The bars on performance: what is asked, what was measured of it, and what was measured before."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from simulations.benches import central, pfl, places
from simulations.benches.codecs import CodecBench
from simulations.benches.device_service import Found as ServiceFound
from simulations.benches.device_training import Found as TrainingFound
from simulations.benches.figures import figure, table
from simulations.benches.measurement import Measurement
from simulations.benches.plan import (
    AGGREGATE,
    CENTRAL_MF,
    CENTRAL_TRIO,
    CHURN,
    CODECS,
    DEVICE_SERVICE,
    DEVICE_TRAINING,
    PACING,
    PFL,
    PLACES_MF,
    PLACES_TRIO,
    PRIVACY,
    SCALE,
)
from simulations.benches.privacy_overhead import BAR as MOST_OVERHEAD
from simulations.benches.privacy_overhead import OverheadRow
from simulations.benches.racing import Race

Found = dict[str, Any]
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What is asked of a figure. ``bench``: the measurement that has it. ``least``: whether more is better.

    ``read``: returns the figure of what was found; None where the measurement is of another size. ``unit``: stands
    after figures, with its space where there is one.
    """

    key: str
    what: str
    bench: str
    asked: float
    least: bool
    unit: str
    read: Callable[[Found], float | None]

    def shown(self, value: float) -> str:
        """Return a figure with its unit."""
        return f"{figure(value)}{self.unit}"

    @property
    def in_words(self) -> str:
        """What is asked, in words."""
        return f"at {'least' if self.least else 'most'} {self.shown(self.asked)}"

    def met(self, value: float) -> bool:
        """Return whether a figure reaches what is asked."""
        return value >= self.asked if self.least else value <= self.asked


def race_of(found: Found) -> Race:
    """Return the laps of a stored race."""
    return TypeAdapter(Race).validate_python({"laps": found["laps"]})


def _pfl(items: int) -> Callable[[Found], float | None]:
    def read(found: Found) -> float | None:
        for one in found["works"]:
            if one["work"]["num_items"] == items:
                return race_of(one).ratio(pfl.OURS_DP, pfl.PFL_DP, pfl.RATE).median
        return None

    return read


def _central(entrant: str) -> Callable[[Found], float | None]:
    return lambda found: race_of(found).ratio(entrant, central.PLAIN, central.RATE).median


def _places(found: Found) -> float | None:
    rows = TypeAdapter(list[places.Row]).validate_python(found["places"])
    return rows[0].ratio_rounds.median


def _peak(found: Found) -> float | None:
    most = max(found["points"], key=lambda point: (point["users"], point["items"]))
    return most["peak_rss_bytes"] / 2**30 if most["users"] >= 1_000_000 else None


def _overhead(name: str) -> Callable[[Found], float | None]:
    def read(found: Found) -> float | None:
        rows = TypeAdapter(list[OverheadRow]).validate_python(found["overhead"])
        return next((100 * row.overhead.median for row in rows if row.workload.name == name), None)

    return read


def _codec(read: Callable[[Any], float]) -> Callable[[Found], float | None]:
    def of_int8(found: Found) -> float | None:
        rows = TypeAdapter(CodecBench).validate_python(found).rows
        return next((read(row) for row in rows if row.name == "int8"), None)

    return of_int8


def _beside_training(found: Found) -> float | None:
    beside = TypeAdapter(ServiceFound).validate_python(found).beside_training
    return beside.p95 if beside else None


def _cold_start(found: Found) -> float | None:
    starts = sorted(TypeAdapter(ServiceFound).validate_python(found).starts)
    return starts[len(starts) // 2]


def _most_training(found: Found) -> float | None:
    return max(one.peak_mib for one in TypeAdapter(list[TrainingFound]).validate_python(found["tasks"]))


def _fold(found: Found) -> float | None:
    return race_of(found).spread("fold", "replies_per_second").median


_OF_TRIO, _OF_MF = "cf+mf+seq", "mf alone"
_COST = "what user-level privacy adds to a round of one step, full softmax"

BARS = (
    Bar(
        key="pfl-1k",
        what="users/s against pfl-research, same MF, 1k items",
        bench=PFL,
        asked=30,
        least=True,
        unit="x",
        read=_pfl(1000),
    ),
    Bar(
        key="pfl-10k",
        what="users/s against pfl-research, same MF, 10k items",
        bench=PFL,
        asked=100,
        least=True,
        unit="x",
        read=_pfl(10_000),
    ),
    Bar(
        key="central-trio-dp",
        what=f"interactions/s of a private round against central training in plain PyTorch, {_OF_TRIO}",
        bench=CENTRAL_TRIO,
        asked=0.6,
        least=True,
        unit="x",
        read=_central(central.WITH_DP),
    ),
    Bar(
        key="central-trio",
        what=f"a round without DP against central training, {_OF_TRIO}",
        bench=CENTRAL_TRIO,
        asked=0.85,
        least=True,
        unit="x",
        read=_central(central.WITHOUT_DP),
    ),
    Bar(
        key="central-mf-dp",
        what=f"a private round against central training, {_OF_MF}",
        bench=CENTRAL_MF,
        asked=0.6,
        least=True,
        unit="x",
        read=_central(central.WITH_DP),
    ),
    Bar(
        key="central-mf",
        what=f"a round without DP against central training, {_OF_MF}",
        bench=CENTRAL_MF,
        asked=0.85,
        least=True,
        unit="x",
        read=_central(central.WITHOUT_DP),
    ),
    Bar(
        key="ray-mf",
        what=f"users/s of rounds against Ray with one user a node, {_OF_MF}, DP",
        bench=PLACES_MF,
        asked=500,
        least=True,
        unit="x",
        read=_places,
    ),
    Bar(
        key="ray-trio",
        what=f"users/s of rounds against Ray with one user a node, {_OF_TRIO}, DP",
        bench=PLACES_TRIO,
        asked=25,
        least=True,
        unit="x",
        read=_places,
    ),
    Bar(
        key="scale-users",
        what="exponent of round time in users, 1k to 1M",
        bench=SCALE,
        asked=1.05,
        least=False,
        unit="",
        read=lambda found: found["exponent_users"],
    ),
    Bar(
        key="scale-memory",
        what="peak memory of a round of 1M users",
        bench=SCALE,
        asked=4,
        least=False,
        unit=" GiB",
        read=_peak,
    ),
    Bar(
        key="overhead-trio",
        what=f"{_COST}, {_OF_TRIO}",
        bench=PRIVACY,
        asked=100 * MOST_OVERHEAD,
        least=False,
        unit=" %",
        read=_overhead("trio, one step, full softmax"),
    ),
    Bar(
        key="overhead-mf",
        what=f"{_COST}, {_OF_MF}",
        bench=PRIVACY,
        asked=100 * MOST_OVERHEAD,
        least=False,
        unit=" %",
        read=_overhead("mf, one step, full softmax"),
    ),
    Bar(
        key="int8-bytes",
        what="int8 upload of the bytes of float32",
        bench=CODECS,
        asked=0.27,
        least=False,
        unit="",
        read=_codec(lambda row: row.ratio),
    ),
    Bar(
        key="int8-hits",
        what="change of HR@10 with int8",
        bench=CODECS,
        asked=-1,
        least=True,
        unit=" %",
        read=_codec(lambda row: 100 * row.change),
    ),
    Bar(
        key="fold",
        what="replies of 1 MB that a server judges and folds a second",
        bench=AGGREGATE,
        asked=200,
        least=True,
        unit="",
        read=_fold,
    ),
    Bar(
        key="churn",
        what="rounds that commit while half of the devices come and go",
        bench=CHURN,
        asked=95,
        least=True,
        unit=" %",
        read=lambda found: 100 * found["committed_share"],
    ),
    Bar(
        key="pacing",
        what="highest peak of ten minutes over a day's mean, with hints",
        bench=PACING,
        asked=3,
        least=False,
        unit="x",
        read=lambda found: found["paced"]["worst"],
    ),
    Bar(
        key="service-p95",
        what="a device's list beside training, 95th percentile",
        bench=DEVICE_SERVICE,
        asked=5,
        least=False,
        unit=" ms",
        read=_beside_training,
    ),
    Bar(
        key="service-start",
        what="cold start of a device's service to its first list",
        bench=DEVICE_SERVICE,
        asked=1,
        least=False,
        unit=" s",
        read=_cold_start,
    ),
    Bar(
        key="service-memory",
        what="most resident memory of a device's service",
        bench=DEVICE_SERVICE,
        asked=120,
        least=False,
        unit=" MiB",
        read=lambda found: found["peak_mib"],
    ),
    Bar(
        key="task-memory",
        what="most resident memory of a device's training task, of all kinds",
        bench=DEVICE_TRAINING,
        asked=512,
        least=False,
        unit=" MiB",
        read=_most_training,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A bar with what was measured of it; ``value``: None where nothing was."""

    bar: Bar
    value: float | None
    failed: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether it is met; None where nothing was measured."""
        return None if self.value is None else self.bar.met(self.value)


def judged(stored: Mapping[str, Measurement]) -> Iterator[Judged]:
    """Yield each bar with its figure. ``stored``: measurements by bench."""
    for bar in BARS:
        one = stored.get(bar.bench)
        value = None if one is None or one.found is None else bar.read(one.found)
        yield Judged(bar=bar, value=value, failed=one.failed if one else None)


def bar_table(stored: Mapping[str, Measurement]) -> str:
    """Return all bars as a table, what is missed in bold."""
    return table(("what", "asked", "measured", ""), map(_cells, judged(stored)))


def _cells(one: Judged) -> list[str]:
    verdict = {None: one.failed or NOT_MEASURED, True: "met", False: "**missed**"}[one.met]
    measured = "" if one.value is None else one.bar.shown(one.value)
    return [one.bar.what, one.bar.in_words, f"**{measured}**" if one.met is False else measured, verdict]
