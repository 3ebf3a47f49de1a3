"""Tell a model that honest training could have made from one that is built to read its users out.

A server that means harm sends parameters instead of asking for more: layers whose rows all measure the same thing, so
that gradients hold single examples (Fowl et al., 2022, "Robbing the Fed"); rows with more weight below zero than above,
so that almost no input passes a unit (Boenisch et al., 2023, "When the curious abandon honesty"); huge biases; item
vectors that are alike but for those of interest. Each leaves a mark on the weights, which is looked for here before any
private row is read. These checks find what was published, not every attack: bounds on noise and clipping are what holds
against the others. Thresholds are measured on a thousand honest models (``tests/clients/guard``); numpy alone.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

MOST = 1e3
"""Largest value of a trained parameter."""
MOST_OF_MEMBERS = 1e12
"""Largest value of what members count and solve, which no device trains."""
MEMBERS = "members."
MOST_BIAS = 50.0
ROW_OUTLIER = 200.0
"""Norm of a row over the median of the table's rows that are not zero."""
DUPLICATES = 0.005
"""Share of a matrix's rows that may point exactly where another does; always one pair."""
WIDE = 4
"""Columns, and rows, from which on directions of rows mean something."""
ALIKE = 0.999
"""Share of a layer's energy that may lie in one direction, if the layer is not as small as a fresh one."""
GROWN = 0.5
"""Root mean square of a layer's entries, times the root of its inputs, from which on it is not fresh."""
SKEW = 0.6
"""Mean entry of rows over their standard deviation, averaged over a layer's rows."""
DEAD = 0.5
"""Share of units that may have a bias below what their weights can reach at inputs of size one."""
DRIFT = 30.0
"""Factor by which a tensor's root mean square may grow from one accepted task of a run to the next."""
DRIFT_FLOOR = 1.0
"""Root mean square below which growth is what training does to small beginnings."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How large the tensors of a model were. ``of``: of which run and structure; ``rms``: root mean squares by name."""

    of: str
    rms: Mapping[str, float]

    def to_json(self) -> str:
        """Return a text that ``from_json`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Profile | None":
        """Return the profile of a text, None if it is none."""
        try:
            table = json.loads(text)
            return cls(of=str(table["of"]), rms={str(name): float(value) for name, value in table["rms"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def profile_of(shared: Arrays, of: str = "") -> Profile:
    """Return how large the tensors of a model are."""
    return Profile(of=of, rms={name: _rms(value) for name, value in sorted(shared.items())})


def suspicious(shared: Arrays, before: Profile | None = None) -> str | None:
    """Return what is odd about a model's shared parameters, in words that name the tensor; None if nothing is.

    ``shared``: numpy arrays by parameter name. ``before``: of the last model of the same run that was accepted.
    """
    for name in sorted(shared):
        value = np.asarray(shared[name])
        for reason in _oddities(name, value, shared):
            return f"tensor {name!r} {reason}"
        if before is not None and name in before.rms and _rms(value) > DRIFT_FLOOR:
            factor = _rms(value) / max(before.rms[name], 1e-12)
            if factor > DRIFT:
                return f"tensor {name!r} is {factor:.0f} times as large as in the last task of this run"
    return None


def _oddities(name: str, value: NDArray[Any], shared: Arrays) -> Iterator[str]:
    if not value.size:
        return
    if not bool(np.isfinite(value).all()):
        yield "is not finite"
        return
    most, peak = MOST_OF_MEMBERS if name.startswith(MEMBERS) else MOST, float(np.abs(value).max())
    if peak > most:
        yield f"reaches {peak:.3g}, more than {most:.3g}"
    if name.startswith(MEMBERS):
        return
    if value.ndim == 1:
        yield from _of_bias(name, value, shared)
    elif value.ndim == 2:
        yield from _of_matrix(name, value)


def _of_bias(name: str, bias: NDArray[Any], shared: Arrays) -> Iterator[str]:
    if name.endswith("bias") and float(np.abs(bias).max()) > MOST_BIAS:
        yield f"has a bias of {float(np.abs(bias).max()):.3g}, more than {MOST_BIAS:g}"
    weight = shared.get(name.removesuffix("bias") + "weight") if name.endswith(".bias") else None
    if weight is None or weight.ndim != 2 or len(weight) != len(bias) or len(bias) < WIDE:
        return
    reach = np.linalg.norm(weight, axis=1) * np.sqrt(weight.shape[1])
    dead = float(np.mean((bias < -reach) & (bias < -1.0)))
    if dead > DEAD:
        yield f"keeps {dead:.0%} of its units from ever being active"


def _of_matrix(name: str, value: NDArray[Any]) -> Iterator[str]:
    norms = np.linalg.norm(value.astype(np.float64, copy=False), axis=1)
    live = norms[norms > 0]
    if not live.size or min(value.shape) < WIDE:
        return
    if live.max() > ROW_OUTLIER * np.median(live) and live.max() > 1.0:
        yield f"has a row {live.max() / np.median(live):.0f} times as long as its others"
    same = _parallel(value[norms > 0], live)
    if same > max(2, DUPLICATES * len(value)):
        yield f"has {same} rows that point where others do"
    if is_table(name):
        return
    rms, share = _rms(value), _in_one_direction(value)
    if share > ALIKE and rms * np.sqrt(value.shape[1]) > GROWN:
        yield f"has {share:.2%} of its weight in one direction"
    spread = value.std(axis=1)
    skew = float(np.mean(value.mean(axis=1)[spread > 0] / spread[spread > 0])) if bool((spread > 0).any()) else 0.0
    if abs(skew) > SKEW + 5.0 / np.sqrt(value.size):
        yield f"has rows that lie to one side of zero (mean {skew:.2f} of their spread)"


def is_table(name: str) -> bool:
    """Return whether a parameter has a row an item, by its name, instead of a row a unit."""
    return "embedding" in name or name.rpartition(".")[2] in ("factors", "items")


def _parallel(rows: NDArray[Any], norms: NDArray[np.float64]) -> int:
    """Return how many rows point exactly where another row of the matrix does, or opposite.

    Rows of one direction have one image on a fixed random line; all others meet there with a chance of nothing.
    """
    line = np.random.default_rng(0).standard_normal(rows.shape[1])
    images = np.sort(np.abs(rows @ line) / norms)
    near = np.diff(images) <= 1e-7 * np.maximum(images[1:], 1e-3) * 0.01
    return int(np.count_nonzero(near)) + bool(near.any())


def _in_one_direction(value: NDArray[Any]) -> float:
    """Return the share of a matrix's squared entries that its best approximation of rank one has."""
    gram = value.T @ value if value.shape[0] > value.shape[1] else value @ value.T
    eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64))
    return float(eigenvalues[-1] / max(eigenvalues.sum(), 1e-300))


def _rms(value: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) if value.size else 0.0
