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

MOST = 100.0
"""Largest value of a trained parameter."""
MOST_OF_MEMBERS = 1e12
"""Largest value of what members count and solve, which no device trains."""
RELEASED = ("members.", "released.", "mixing.")
"""Parameters that statistics set and no device trains: often zero, sparse or alike."""
MOST_BIAS = 30.0
ROW_OUTLIER = 50.0
"""Norm of a row over the median of the table's rows that are not zero."""
DUPLICATES = 0.005
"""Share of a matrix's rows that may point exactly where another does; always one pair."""
NARROW = 4
"""Columns of a table from which on directions of its rows mean something."""
SMALL = 8
"""Rows and columns of a layer from which on chance makes no pattern."""
GROWN = 0.5
"""Root mean square of a layer's entries, times the root of its inputs, from which on its pattern counts: layers that
begin at zero are of one direction, and of rows alike, after their first step."""
ALIKE = 0.95
"""Share of a layer's squared entries that may lie in one direction."""
SKEW = 0.6
"""Mean entry of a row over its root mean square, averaged over a layer's rows."""
MIRRORED = 0.25
"""Share of a layer's rows whose entries above and below zero may be the same but for one factor."""
DEAD = 0.5
"""Share of units that may have a bias below what their weights can reach at inputs of size one."""
CHUNK = 4096
"""Rows that are held in double precision at a time."""
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
    released = name.startswith(RELEASED)
    most, peak = MOST_OF_MEMBERS if released else MOST, _peak(value)
    if peak > most:
        yield f"reaches {peak:.3g}, more than {most:g}"
    if released:
        return
    if value.ndim == 1 and name.endswith("bias"):
        yield from _of_bias(name, value, peak, shared)
    elif value.ndim == 2:
        yield from _of_rows(name, value)
        if not is_table(name) and min(value.shape) >= SMALL and _grown(value):
            yield from _of_layer(value)


def _of_bias(name: str, bias: NDArray[Any], peak: float, shared: Arrays) -> Iterator[str]:
    if peak > MOST_BIAS:
        yield f"has a bias of {peak:.3g}, more than {MOST_BIAS:g}"
    weight = shared.get(name.removesuffix("bias") + "weight")
    if weight is None or weight.ndim != 2 or len(weight) != len(bias) or len(bias) < SMALL:
        return
    reachable = np.linalg.norm(weight, axis=1) * np.sqrt(weight.shape[1])
    dead = float(np.mean((bias < -reachable) & (bias < -1.0)))
    if dead > DEAD:
        yield f"keeps {dead:.0%} of its units from ever being active"


def _of_rows(name: str, value: NDArray[Any]) -> Iterator[str]:
    """Yield what is odd about rows beside each other: one far longer than the others, or too many alike."""
    norms = np.sqrt(np.einsum("ij,ij->i", value, value), dtype=np.float64)
    live = norms[norms > 0]
    if live.size < SMALL or value.shape[1] < NARROW:
        return
    longest = live.max() / np.median(live)
    if longest > ROW_OUTLIER and live.max() > 1.0:
        yield f"has a row {longest:.0f} times as long as its others"
    same = _parallel(value, norms) if is_table(name) or _grown(value) else 0
    if same > max(2, DUPLICATES * len(value)):
        yield f"has {same} rows that point where others do"


def _of_layer(value: NDArray[Any]) -> Iterator[str]:
    share = _in_one_direction(value)
    if share > ALIKE:
        yield f"has {share:.1%} of its weight in one direction"
    sizes = np.sqrt(np.mean(np.square(value, dtype=np.float64), axis=1))
    skew = float(np.mean(value.mean(axis=1)[sizes > 0] / sizes[sizes > 0]))
    if abs(skew) > SKEW:
        yield f"has rows that lie to one side of zero (mean {skew:.2f} of their size)"
    mirrored = float(np.mean([_is_mirrored(row) for row in value[:1024]]))
    if mirrored > MIRRORED:
        yield f"has {mirrored:.0%} of its rows the same above and below zero"


def _is_mirrored(row: NDArray[Any]) -> bool:
    """Return whether a row's entries above zero are those below it, in any order, times one factor."""
    above, below = np.sort(row[row > 0]), np.sort(-row[row < 0])
    if len(above) != len(below) or len(above) < NARROW or above.std() < 1e-3 * above.mean():
        return False  # entries of one size are what Adam's first step leaves of a layer that began at zero
    factors = above / below
    return bool(factors.std() < 1e-3 * factors.mean())


def _grown(value: NDArray[Any]) -> bool:
    return _rms(value) * float(np.sqrt(value.shape[1])) > GROWN


def is_table(name: str) -> bool:
    """Return whether a parameter has a row an item, by its name, instead of a row a unit."""
    return "embedding" in name or name.rpartition(".")[2] in ("factors", "items")


def _parallel(rows: NDArray[Any], norms: NDArray[np.float64]) -> int:
    """Return how many rows point exactly where another row of the matrix does, or opposite.

    Rows of one direction have one image on a fixed random line, but for what float32 rounds; of others few meet there.
    """
    line = np.random.default_rng(0).standard_normal(rows.shape[1])
    images = np.concatenate([rows[n : n + CHUNK] @ line for n in range(0, len(rows), CHUNK)])
    images = np.sort(np.abs(images[norms > 0]) / norms[norms > 0])
    near = np.diff(images) <= 1e-7 * images[1:] / max(1.0, len(images) / 50_000)
    return int(np.count_nonzero(near)) + bool(near.any())


def _in_one_direction(value: NDArray[Any]) -> float:
    """Return the share of a matrix's squared entries that its best approximation of rank one has."""
    gram = value.T @ value if value.shape[0] > value.shape[1] else value @ value.T
    eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64))
    return float(eigenvalues[-1] / max(eigenvalues.sum(), 1e-300))


def _rms(value: NDArray[Any]) -> float:
    """Return the root mean square of the entries, without a copy of them."""
    flat = np.ravel(value)
    parts = [np.dot(part, part) for part in (flat[n : n + 2**16] for n in range(0, flat.size, 2**16))]
    return float(np.sqrt(np.sum(parts, dtype=np.float64) / flat.size)) if flat.size else 0.0


def _peak(value: NDArray[Any]) -> float:
    return max(float(value.max()), -float(value.min()))
