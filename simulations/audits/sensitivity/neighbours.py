"""Two neighbouring cohorts, and how far apart the sums of what their users contribute are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from fedrec.errors import FedRecError
from fedrec.privacy.adaptive_clipping import MOST_PER_USER, WITHIN
from simulations.audits.sensitivity.people import Person

SLACK = 1e-4
"""Relative, of a bound: for the rounding of float32 sums over the other users."""

Sum = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """By how much one user may change a sum, in L2.

    ``whole``: over all tensors together. ``row``: of each row of the tensors ``tables``; None where rows are not
    bounded. The count of users within the clip norm is bounded by itself.
    """

    whole: float
    row: float | None = None
    tables: frozenset[str] = frozenset()


class Pipeline(Protocol):
    """A production path from people's histories to the sum of what they contribute, noise off."""

    @property
    def words(self) -> str:
        """What it is, to be read after "with"."""

    @property
    def bounds(self) -> Bounds:
        """By how much one user may change the sum."""

    def sum_of(self, people: Sequence[Person]) -> Sum:
        """Return the sum over people, float tensors by name; of nobody zeros, or no tensor."""


Way = Literal["removed", "replaced", "emptied"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A cohort, and its neighbour: without person ``chosen``, or with another in that place.

    ``other``: that one; None for the same person without events. ``emptied`` allows for one contribution, as
    ``removed`` does, and ``replaced`` for two.
    """

    pipeline: Pipeline
    people: tuple[Person, ...]
    chosen: int
    other: Person | None = None
    way: Way = "removed"

    @property
    def allowed(self) -> int:
        """How many contributions the change may be worth."""
        return 2 if self.way == "replaced" else 1

    @property
    def neighbour(self) -> tuple[Person, ...]:
        """The people of the neighbouring cohort."""
        before, after = self.people[: self.chosen], self.people[self.chosen + 1 :]
        if self.way == "removed":
            return (*before, *after)
        return (*before, self.other or self.people[self.chosen].with_events(0), *after)

    def told(self) -> str:
        """Return the case in words."""
        users = "one user" if len(self.people) == 1 else f"{len(self.people)} users"
        did = f"the user who {self.people[self.chosen].told()}"
        if self.way == "removed":
            change = f"taking away {did}"
        elif self.way == "emptied":
            change = f"emptying {'one slot of ' if self.other else ''}the history of {did}"
        else:
            change = f"replacing {did} by one who {self.other.told() if self.other else 'had done nothing'}"
        return f"with {self.pipeline.words} and {users}, {change}"

    @property
    def size(self) -> tuple[int, int]:
        """By which cases are compared: people, and their events."""
        return len(self.people), sum(len(one.items) for one in self.people)


@dataclass(frozen=True, kw_only=True)
class Change:
    """How far a case moves the sum.

    ``ratio``: in units of the bound that it comes nearest to, that of ``bound``. ``failure``: why there is no sum of
    one of both cohorts; empty where there are two. ``is_void``: whether there is none of either, which says nothing.
    """

    case: Case
    ratio: float
    bound: str
    failure: str = ""
    is_void: bool = False

    @property
    def is_allowed(self) -> bool:
        """Whether the change stays within the bound."""
        return self.ratio <= self.case.allowed * (1 + SLACK)

    @property
    def share(self) -> float:
        """The change as a share of what is allowed."""
        return self.ratio / self.case.allowed

    def told(self) -> str:
        """Return what happened in one clause."""
        moved = f"moves {self.bound} by {self.ratio:.3g} times its bound; {self.case.allowed} is allowed"
        without = f" (with one of both there is no sum: {self.failure})" if self.failure else ""
        return f"{self.case.told()} {moved}{without}"


def change_of(case: Case) -> Change:
    """Return how far the sums of both cohorts are apart.

    A sum that cannot be had, or is not finite, is set aside by the server, and so is worth zeros: if one user decides
    over that, it changes the sum by what all others contribute.
    """
    one, first = _tried(case.pipeline, case.people)
    two, second = _tried(case.pipeline, case.neighbour)
    if first and second:
        return Change(case=case, ratio=0.0, bound="the sum", failure=first, is_void=True)
    ratios = _ratios(one, two, case.pipeline.bounds)
    bound, ratio = max(ratios.items(), key=lambda item: item[1])
    return Change(case=case, ratio=ratio, bound=bound, failure=first or second)


def smaller_cases(case: Case) -> list[Case]:
    """Return cases that are a step smaller: fewer bystanders, shorter histories."""
    found = []
    for place in range(len(case.people)):
        if place != case.chosen:
            rest = (*case.people[:place], *case.people[place + 1 :])
            found.append(replace(case, people=rest, chosen=case.chosen - (place < case.chosen)))
    for place, one in enumerate(case.people):
        for number in sorted({len(one.items) // 2, len(one.items) - 1}):
            if 0 <= number < len(one.items):
                shorter = (*case.people[:place], one.with_events(number), *case.people[place + 1 :])
                found.append(replace(case, people=shorter))
    return found


def _tried(pipeline: Pipeline, people: Sequence[Person]) -> tuple[Sum, str]:
    """Return the sum of people, or none and why."""
    try:
        total = pipeline.sum_of(people)
    except (FedRecError, RuntimeError, ValueError, ArithmeticError) as error:
        return {}, f"{type(error).__name__}: {error}".splitlines()[0]
    odd = [name for name, value in total.items() if not bool(value.isfinite().all())]
    return ({}, f"the sum of {odd[0]} is not finite") if odd else (total, "")


def _ratios(one: Sum, two: Sum, bounds: Bounds) -> dict[str, float]:
    moved = {name: _difference(one, two, name) for name in {**one, **two}}
    counted = moved.pop(WITHIN, None)
    squares = sum(float(value.square().sum()) for value in moved.values())
    found = {"the sum": math.sqrt(squares) / bounds.whole}
    if counted is not None:
        found["the count of users within the clip norm"] = float(counted.abs().max()) / MOST_PER_USER
    for name in sorted(bounds.tables & set(moved)) if bounds.row else []:
        longest = float(torch.linalg.vector_norm(moved[name], dim=1).max()) if moved[name].dim() == 2 else 0.0
        found[f"a row of {name}"] = longest / (bounds.row or math.inf)
    return found


def _difference(one: Sum, two: Sum, name: str) -> Tensor:
    if name in one and name in two:
        return one[name].double() - two[name].double()
    return (one[name] if name in one else two[name]).double()
