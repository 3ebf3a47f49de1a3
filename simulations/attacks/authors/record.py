"""What one reproduction measured, beside what its authors claim."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from simulations.benches.origin import Origin


@dataclass(frozen=True, kw_only=True)
class Row:
    """Quality and exposure after ``iteration``; 0 is before training.

    ``hr``: as the authors measure it, see ``Reproduction.hr``; ``ndcg``: its NDCG, None where they give none. ``er5``,
    ``er10``, ``er20``: share of honest users, of those who have not met the target, who are shown it in their first
    5, 10 and 20; None for an attack without target.
    """

    iteration: int
    hr: float
    ndcg: float | None = None
    er5: float | None = None
    er10: float | None = None
    er20: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """One attack in its authors' setting. ``measured``: with it; ``clean``: its twin, same seed, without liars.

    The twin may have been measured after fewer of the iterations; first and last are always among them.

    ``source``: the paper; ``data``: what was trained on; ``fraction``: liars per honest client; ``claimed``: the
    authors' effect and where it is from; ``hr``: what ``Row.hr`` is; ``own``: where this differs from the authors'.
    """

    name: str
    source: str
    data: str
    fraction: float
    iterations: int
    measured: tuple[Row, ...]
    clean: tuple[Row, ...]
    claimed: str
    hr: str
    own: str
    seed: int
    seconds: float
    origin: Origin

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        found: Mapping[str, Any] = json.loads(text)
        rows = {name: tuple(Row(**row) for row in found[name]) for name in ("measured", "clean")}
        return cls(**{**found, **rows, "origin": Origin(**found["origin"])})
