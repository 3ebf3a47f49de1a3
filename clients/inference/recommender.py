"""A device's recommendations: from its own events, by the last good served model, by popularity before there is one."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.inference.items import Items
from clients.local_store import LocalStore
from fedrec.errors import DataError
from fedrec.ranking import top_k


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why an item is on the list. ``text``: for a person; ``kind``: ``model``, ``event``, ``attribute`` or ``none``.

    ``name``: the branch or member, the own item, or the attribute; ``weight``: how much, on a scale of its kind.
    """

    kind: str
    name: str
    weight: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One line of a list. ``item``: raw id; ``reasons``: empty unless they were asked for."""

    item: str
    title: str
    score: float
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What recommendations come from just now; versions are 0 where there is none.

    ``source``: ``model``, ``popularity`` or ``catalogue`` (its order, where not even popularity is known). ``problem``:
    why it is not the newest version, for the owner; empty where it is.
    """

    source: str
    model_version: int
    catalogue_version: int
    num_items: int
    problem: str


class Recommender:
    """Answers for the users of one device. Safe to call from several threads; ``reload`` swaps the model in one step.

    Raises ``DataError`` where there is no catalogue yet.
    """

    def __init__(self, home: DeviceHome) -> None:
        self._home = home
        self._store = LocalStore.open(home.store)
        self._items: Items | None = None
        self._serving = Serving(source="catalogue", model_version=0, catalogue_version=0, num_items=0, problem="")
        self.reload()

    def recommend(
        self, user: str, k: int, exclude: Collection[str] = (), *, explain: bool = False
    ) -> list[Recommendation]:
        """Return the ``k`` best items for a user that are neither in the user's events nor in ``exclude``, best first.

        ``exclude``: raw item ids; unknown ones are passed over. Fewer than ``k`` where fewer are left. Raises
        ``ValueError`` for ``k`` below 1.
        """
        items = self._items
        if items is None:
            raise DataError(f"{self._home.catalogues} holds no catalogue yet: the device fetches it when it is online")
        met = {event.item for event in self._store.events(user)}
        codes = np.array([items.codes[item] for item in {*met, *exclude} if item in items.codes], np.int32)
        scores = np.zeros(len(items), np.float32) if items.popularity is None else items.popularity
        best = top_k(scores, k, np.append(codes, items.reserved).astype(np.int32))
        return [
            Recommendation(item=items.item_ids[code], title=items.titles[code], score=float(scores[code]))
            for code in best.tolist()
        ]

    def reload(self) -> bool:
        """Read the versions that count now; return whether anything changed. A damaged one leaves the last good."""
        version = versions.current(self._home.catalogues) or 0
        if version == self._serving.catalogue_version:
            return False
        self._items = items = Items.load(self._home.catalogues / str(version))
        source = "catalogue" if items.popularity is None else "popularity"
        self._serving = Serving(
            source=source, model_version=0, catalogue_version=version, num_items=len(items), problem=""
        )
        return True

    def knows(self, item: str) -> bool | None:
        """Return whether the catalogue has an item of this raw id, None where there is no catalogue yet."""
        return None if self._items is None else item in self._items.codes

    def serving(self) -> Serving:
        """Return what recommendations come from just now."""
        return self._serving
