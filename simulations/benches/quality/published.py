"""Figures on quality that were published before, beside those of the kept runs of the same seeds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from simulations.benches.figures import table
from simulations.benches.quality import prose
from simulations.benches.quality.cells import NOT_RUN
from simulations.benches.quality.row import METRICS
from simulations.benches.quality.stored import Stored


class Published(BaseModel):
    """Means over users and ``seeds`` as a page had them, by metric, in words: digits are those that were published.

    ``why``: of a difference to now; empty where there is none, or where nobody knows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    variant: str
    seeds: tuple[int, ...]
    means: dict[str, str]
    why: str = ""

    def equals(self, now: Mapping[str, float]) -> bool:
        """Return whether the figures of now are the published ones, to the digits that were published."""
        return all(_rounded(now[metric], shown) == shown for metric, shown in self.means.items())


def read_published(path: Path) -> list[Published]:
    """Return the published figures; none where there is no file."""
    return TypeAdapter(list[Published]).validate_json(path.read_bytes()) if path.is_file() else []


def published_section(stored: Mapping[str, Stored], published: Sequence[Published]) -> str:
    """Return then and now side by side; figures of other seeds are not compared."""
    columns = ("data", "run", "seeds", "published HR@10 / NDCG@10", "now", "")
    return f"{prose.PUBLISHED}\n\n{table(columns, _rows(stored, published))}"


def _rows(stored: Mapping[str, Stored], published: Sequence[Published]) -> Iterator[list[str]]:
    for one in published:
        found = stored[one.data].scored(one.variant, seeds=one.seeds) if one.data in stored else None
        shown = " / ".join(one.means[metric] for metric in METRICS)
        head = [one.data, one.variant, ", ".join(map(str, one.seeds)), shown]
        if found is None:
            yield [*head, NOT_RUN, one.why]
            continue
        now = {metric: found.mean(metric) for metric in METRICS}
        told = " / ".join(_rounded(now[metric], one.means[metric]) for metric in METRICS)
        yield [*head, told, "equal" if one.equals(now) else f"**differs**{': ' + one.why if one.why else ''}"]


def _rounded(value: float, like: str) -> str:
    return f"{value:.{len(like.partition('.')[2])}f}"
