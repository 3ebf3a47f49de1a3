"""Why an item is on a list, in plain terms: what of the model lifts it, what of one's own it is like, what it shares.

Computed on the device from the device's events, and told to nobody else. Same measures as ``fedrec.explanations``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.inference.items import Items
from fedrec.serving.words import MEMBER_WORDS

MOST_PARTS, MOST_EVENTS, MOST_ATTRIBUTES = 2, 2, 2
"""Reasons of each kind that an item gets at most."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why an item is on the list. ``text``: for a person.

    ``kind``: ``model`` with a branch's or member's name and how far it lifts the item above the mean item; ``event``
    with an own item's raw id and its cosine similarity; ``attribute`` with ``attribute=value`` and how many own events
    share it; ``fallback`` where no model speaks.
    """

    kind: str
    name: str
    weight: float
    text: str


def reasons_of_model(code: int, parts: Mapping[str, NDArray[np.float32]]) -> list[Reason]:
    """Return the branches and members that lift an item most above the mean item, the most first.

    ``parts``: what each adds to the scores, float32 ``[num_items]`` of the model; ``code``: the item's there.
    """
    lifts = {name: float(scores[code] - scores.mean(dtype=np.float64)) for name, scores in parts.items()}
    ordered = sorted(lifts.items(), key=lambda pair: -pair[1])
    return [
        Reason(kind="model", name=name, weight=lift, text=f"fits {MEMBER_WORDS.get(name, name)}")
        for name, lift in ordered[:MOST_PARTS]
        if lift > 0
    ]


def reasons_of_events(
    vector: NDArray[np.float32], others: NDArray[np.float32], names: Sequence[tuple[str, str]]
) -> list[Reason]:
    """Return the own items that an item is most like, the most alike first.

    ``vector``: float32 ``[width]``, the item's; ``others``: ``[n, width]``; ``names``: raw id and title of each.
    """
    norms = np.linalg.norm(vector) * np.linalg.norm(others, axis=1)
    alike = others @ vector / np.where(norms > 0, norms, 1)
    order = np.argsort(-alike, kind="stable")[:MOST_EVENTS]
    return [
        Reason(kind="event", name=names[at][0], weight=float(alike[at]), text=f"like {names[at][1]}, which you chose")
        for at in order.tolist()
        if alike[at] > 0
    ]


def reasons_of_attributes(items: Items, code: int, own: NDArray[np.int64]) -> list[Reason]:
    """Return the attributes that an item shares with the most own events.

    ``own``: catalogue codes of the events; repeated items count as often as they were chosen.
    """
    names = items.attribute_columns
    if not len(own) or not names:
        return []
    rows = items.features([code, *own.tolist()])
    shared = (rows[1:] == 1).sum(axis=0)
    columns = [column for column in names if rows[0, column] == 1 and shared[column]]
    columns.sort(key=lambda column: -int(shared[column]))
    found = []
    for column in columns[:MOST_ATTRIBUTES]:
        attribute, _, value = names[column].partition("=")
        count = int(shared[column])
        text = f"{attribute} {value}, as {count} of your {len(own)}"
        found.append(Reason(kind="attribute", name=names[column], weight=float(count), text=text))
    return found
