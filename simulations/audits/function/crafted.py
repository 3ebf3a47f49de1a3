"""Users that are made to be seen: the updates by which an aggregator is tried.

Knows names and shapes of tensors and a clip norm; knows no aggregator.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulations.audits.function.subject import Arrays, Release, Training

SHAPES: Mapping[str, tuple[int, ...]] = {"bias": (5,), "items": (12, 4), "tower": (4, 3)}
"""Of the updates that an aggregator gets which does not say what it takes."""

WEIGHT = "num_examples"
"""The tensor, of shape ``()``, by which a user says how many examples an update is made from."""

LARGE = 10.0
"""Norm of a crafted update, in clip norms."""

NATURAL = 0.2
"""Norm of the others' updates, in clip norms."""

Update = Mapping[str, NDArray[np.float64]]


def crafted_updates(shapes: Mapping[str, Sequence[int]], clip_norm: float) -> dict[str, Update]:
    """Return updates, by what is crafted about them."""
    tensors = [name for name in sorted(shapes) if name != WEIGHT]
    one = {name: np.zeros(shapes[name]) for name in shapes}
    if WEIGHT in shapes:
        one[WEIGHT] = np.ones(shapes[WEIGHT])

    def update(**parts: NDArray[np.float64]) -> Update:
        return {name: parts.get(name, one[name]).copy() for name in shapes}

    def axis(name: str, size: float) -> NDArray[np.float64]:
        flat = np.zeros(int(np.prod(shapes[name])))
        flat[-1:] = size
        return flat.reshape(shapes[name])

    norm = LARGE * clip_norm
    spread = {name: np.full(shapes[name], norm / np.sqrt(_size(shapes, tensors))) for name in tensors}
    even = {name: np.full(shapes[name], norm / np.sqrt(_size(shapes, [name]))) for name in tensors}
    users = {f"ten clip norms along one axis of {name}": update(**{name: axis(name, norm)}) for name in tensors}
    users["a thousand clip norms along one axis"] = update(**{tensors[-1]: axis(tensors[-1], 100 * norm)})
    users |= {f"every coordinate of {name}, others untouched": update(**{name: even[name]}) for name in tensors}
    users["every row of every tensor"] = update(**spread)
    users["ten clip norms in each tensor"] = update(**even)
    users["exactly the clip norm"] = update(**{name: spread[name] / LARGE for name in tensors})
    users["an update of zeros"] = update()
    users["a number that is not a number"] = update(**{tensors[0]: axis(tensors[0], np.nan)})
    users["an infinite number"] = update(**{tensors[0]: axis(tensors[0], np.inf)})
    if WEIGHT in shapes:
        users["a thousand examples"] = update(**{tensors[-1]: axis(tensors[-1], norm), WEIGHT: np.array(1000.0)})
    return users


def natural_updates(
    shapes: Mapping[str, Sequence[int]], clip_norm: float, count: int, rng: np.random.Generator
) -> list[Update]:
    """Return small updates of users who are there in any case."""
    scale = NATURAL * clip_norm / np.sqrt(_size(shapes, [name for name in shapes if name != WEIGHT]))
    return [
        {
            name: np.ones(shapes[name]) if name == WEIGHT else rng.normal(0, scale, tuple(shapes[name]))
            for name in shapes
        }
        for _ in range(count)
    ]


def of_updates(function: Callable[..., Any], users: int, rng: np.random.Generator) -> Training:
    """Return an aggregator with crafted updates as the training function that the audit knows."""
    shapes = getattr(function, "shapes", SHAPES)
    clip_norm = float(getattr(function, "clip_norm", 1.0))
    crafted = crafted_updates(shapes, clip_norm)
    silent = getattr(function, "without_noise", None)
    return Training(
        release=_of_copies(function),
        new=(lambda: _of_copies(function())) if isinstance(function, type) else None,
        users=natural_updates(shapes, clip_norm, users, rng),
        crafted=crafted,
        without_noise=None if silent is None else _of_copies(silent),
        sensitivity=getattr(function, "sensitivity", None),
        samples=bool(getattr(function, "samples", False)),
        directions={name: one for name, one in crafted.items() if all(np.isfinite(x).all() for x in one.values())},
    )


def _of_copies(function: Callable[..., Arrays]) -> Release:
    """Return the function, to do with its updates what it likes: clipping in place must not tame the next call."""

    def release(updates: Sequence[Update], rng: np.random.Generator) -> Arrays:
        return function([{name: array.copy() for name, array in update.items()} for update in updates], rng)

    return release


def _size(shapes: Mapping[str, Sequence[int]], names: Sequence[str]) -> int:
    return sum(int(np.prod(shapes[name])) for name in names)
