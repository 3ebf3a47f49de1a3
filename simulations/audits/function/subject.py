"""What is audited: a function that releases something of users, and users to try it with.

Two kinds of objects are taken as ``MODULE:CALLABLE``.

An **aggregator** of updates, ``f(updates, rng) -> release``: ``updates`` is a list of mappings from tensor name to
array, one for each user of the cohort, and may be empty; ``rng`` is a ``numpy.random.Generator`` for all randomness;
the release maps names to float arrays, of the same shapes whatever the updates are. A class without arguments whose
instances are called so is taken too: each run of its rounds gets a new instance, which may keep state from round to
round. Attributes say more, all optional: ``shapes`` (of the tensors it takes; with a tensor ``num_examples`` of shape
``()`` it takes weights), ``clip_norm``, ``without_noise`` (the same function, noise off), ``sensitivity`` (how far one
user may move what that returns, in L2: the number that the noise is calibrated to) and ``samples`` (whether it draws
the cohort from the updates itself; else the audit does).

A **training function** is a ``Training``: it brings users of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import ConfigError

Arrays = Mapping[str, NDArray[np.floating]]
Release = Callable[[Sequence[Any], np.random.Generator], Arrays]


class Aggregator(Protocol):
    """The documented signature of an aggregator."""

    def __call__(self, updates: Sequence[Arrays], rng: np.random.Generator) -> Arrays:
        """Return what is released of a cohort's updates."""
        ...


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is claimed: ``(epsilon, delta)`` for one user of ``population``, over ``rounds`` calls altogether.

    ``sample_rate``: with which each user takes part in a call, independently; 1 for everybody. ``gaussian``: whether it
    was worked out for Gaussian noise. Then, where nothing is sampled, a lower bound on mu contradicts it, which is far
    sharper than what intervals of error rates prove of any mechanism.
    """

    epsilon: float
    delta: float
    population: int
    sample_rate: float = 1.0
    rounds: int = 1
    gaussian: bool = True

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ConfigError(f"a claimed epsilon must be positive, got {self.epsilon}")
        if not 0 < self.delta < 1:
            raise ConfigError(f"a claimed delta must be in (0, 1), got {self.delta}")
        if self.population < 2 or self.rounds < 1:
            raise ConfigError(f"a claim needs 2 users and 1 round at least, got {self.population} and {self.rounds}")
        if not 0 < self.sample_rate <= 1:
            raise ConfigError(f"a claimed sample rate must be in (0, 1], got {self.sample_rate}")

    @classmethod
    def parse(cls, text: str, *, rounds: int = 1) -> "Claim":
        """Return the claim that ``EPS,DELTA,N,Q`` says; raises ``ConfigError`` naming what it lacks."""
        parts = text.split(",")
        if len(parts) != 4:
            raise ConfigError(f"--claim {text!r} must be EPS,DELTA,N,Q: four numbers, such as 4.38,1e-5,1000,1")
        try:
            return cls(
                epsilon=float(parts[0]),
                delta=float(parts[1]),
                population=int(parts[2]),
                sample_rate=float(parts[3]),
                rounds=rounds,
            )
        except ValueError as error:
            raise ConfigError(f"--claim {text!r} must be EPS,DELTA,N,Q: four numbers ({error})") from error


@dataclass(frozen=True, kw_only=True)
class Training:
    """A function of users' data, and the users that it is tried with.

    ``release(users, rng)``: what one round releases, or with ``whole`` what all rounds of the claim do together; names
    to float arrays of shapes that do not hang on the users, which it leaves as they are. Where rounds add up to a
    model, what each adds is told apart best. ``users``: some that are there in any case, in whatever form ``release``
    takes. ``crafted``: by name, users of whom one is there or is not: natural ones and the worst that can be thought
    of. ``nothing``: what stands in the place of a user who is not there (zero-out); None: the list is one shorter (add
    or remove). ``new``: returns ``release`` anew for every run of rounds, where it keeps state. ``without_noise`` and
    ``sensitivity``: the same with noise off, and how far one user may move it in L2. ``samples``: whether ``release``
    draws the cohort of its round itself.
    """

    release: Release
    users: Sequence[Any]
    crafted: Mapping[str, Any]
    nothing: Any = None
    new: Callable[[], Release] | None = None
    without_noise: Release | None = None
    sensitivity: float | None = None
    samples: bool = False
    whole: bool = False
    directions: Mapping[str, Arrays] = field(default_factory=dict)
    """Of crafted users, by name: where they are known to move the release. Else it is looked at."""

    def __post_init__(self) -> None:
        if not self.crafted:
            raise ConfigError("a training function to audit needs at least one crafted user")
        if self.sensitivity is not None and not self.sensitivity > 0:
            raise ConfigError(f"sensitivity must be positive, got {self.sensitivity}")

    def started(self) -> Release:
        """Return the function for the rounds of one run."""
        return self.new() if self.new else self.release

    def world(self, name: str, inside: bool, others: Sequence[Any]) -> list[Any]:
        """Return the others, with the crafted user of that name or with nothing in its place."""
        if inside:
            return [*others, self.crafted[name]]
        return [*others] if self.nothing is None else [*others, self.nothing]
