"""Invented people for the sensitivity fuzz: ordinary ones, and those who would move a sum most if nothing held them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.training.randomness import user_seeds
from simulations.audits.sensitivity.drawing import Draw

LONG = 1000
"""Events of the longest history."""

MOST_EVENTS = 12
"""Events of a history whose items are drawn one by one."""

EXTREME = 3e38
"""A rating twice which is no float32 any more."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """One user: an account's name, and item codes, ratings and days of its events, oldest first."""

    key: str
    items: tuple[int, ...]
    ratings: tuple[float, ...] = field(default=(), repr=False)
    days: tuple[float, ...] = field(default=(), repr=False)

    def told(self) -> str:
        """Return in words what the person did."""
        number, distinct = len(self.items), len(set(self.items))
        if number == 0:
            done = "had done nothing"
        elif number == 1:
            done = "had one event"
        elif distinct == 1:
            done = f"had met one item {number} times"
        else:
            done = f"had {number} events with {distinct} items"
        largest = max(map(abs, self.ratings), default=0.0)
        return f"{done}, rated by numbers as large as {largest:.2g}" if largest > 5 else done

    def with_events(self, number: int) -> "Person":
        """Return the same person with the first ``number`` events alone."""
        cut = slice(0, number)
        return replace(self, items=self.items[cut], ratings=self.ratings[cut], days=self.days[cut])


def person(key: str, items: Sequence[int], rating: float | None = None) -> Person:
    """Return a person of these items, an event a day, all rated alike or from 1 to 5 in turn."""
    ratings = tuple(float(1 + place % 5) if rating is None else rating for place in range(len(items)))
    return Person(key=key, items=tuple(items), ratings=ratings, days=tuple(map(float, range(len(items)))))


CRAFTED: dict[str, Callable[[str, int], Person]] = {
    "busy": lambda key, num_items: person(key, [*range(num_items), *range(num_items)][::-1]),
    "avid": lambda key, num_items: person(key, [*range(num_items - 2), *range(num_items - 2)]),
    "curious": lambda key, num_items: person(key, [0, 1, 0, 2, num_items - 1]),
    "early": lambda key, num_items: person(key, [num_items - 1, 0, 1, 2]),
    "faithful": lambda key, num_items: person(key, [num_items - 1] * 12),
    "everything": lambda key, num_items: person(key, range(num_items)),
    "nothing": lambda key, num_items: person(key, []),
    "once": lambda key, num_items: person(key, [0]),
    "alternating": lambda key, num_items: person(key, [0, num_items - 1] * 6),
    "extreme": lambda key, num_items: person(key, range(min(num_items, 6)), EXTREME),
    "endless": lambda key, num_items: person(key, [place * 7 % num_items for place in range(LONG)]),
}
"""People who are always among those looked at, by what is odd about them."""


def crowd(number: int, num_items: int) -> tuple[Person, ...]:
    """Return ordinary people of two to five events each, none with the last item: the rest of a cohort."""
    return tuple(
        person(f"other-{place}", [(3 * place + step) % (num_items - 1) for step in range(2 + place % 4)])
        for place in range(number)
    )


def draw_person(draw: Draw, key: str, num_items: int, *, endless: bool) -> Person:
    """Draw a person; ``endless``: whether one of a thousand events may come."""
    kinds = ["drawn", "drawn", "drawn", *(kind for kind in CRAFTED if endless or kind != "endless")]
    kind = draw.one_of(kinds)
    if kind != "drawn":
        return CRAFTED[kind](key, num_items)
    items = draw.integers(0, num_items - 1, most=MOST_EVENTS)
    return person(key, items, draw.one_of((None, None, 0.0, -1e3, EXTREME)))


def histories_of(people: Sequence[Person], *, rated: bool = False) -> Histories:
    """Return the people's histories, with days as seconds since 1970; ``rated``: with what they gave, too."""
    return Histories.from_lists(
        [one.items for one in people],
        [one.ratings for one in people] if rated else None,
        [[86_400.0 * day for day in one.days] for one in people],
    )


def seeds_of(people: Sequence[Person], seed: int) -> NDArray[np.uint64]:
    """Return the people's seeds, which depend on nobody else, uint64 ``[len(people)]``."""
    return user_seeds([one.key for one in people], seed)
