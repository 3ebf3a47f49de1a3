"""A device's recommendations: from its own events, by the last good served model, by popularity before there is one."""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.device.home import DeviceHome
from clients.inference.explaining import Reason, reasons_of_attributes, reasons_of_events, reasons_of_model
from clients.inference.items import Items
from clients.inference.loaded import Loaded, Overlay, Served, fingerprint, load
from clients.inference.queries import History, Private
from clients.inference.users import EventSource, Met, Users
from clients.local_store import LocalStore
from fedrec.errors import DataError

MOST_RANKINGS = 4
"""Users whose scores are kept until something changes: 4 bytes an item each."""

__all__ = ["Reason", "Recommendation", "Recommender", "Serving"]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranking:
    """What one user's last list came of.

    ``own``: the share of the branches that ``private`` alone decides; ``scores``: of all, by the model's codes, minus
    infinity for what is not shown.
    """

    met: Met
    served: Served
    private: Private
    history: History
    own: Mapping[str, NDArray[np.float32]]
    scores: NDArray[np.float32]


class Recommender:
    """Answers for the users of one device. Safe to call from several threads; ``reload`` swaps the model in one step.

    ``store``: opened from the device's folder unless it is given. ``personal_steps``: steps that a user's own vectors
    take, in memory, with each request after new events; at most 20 in all until they are trained or fitted again.
    """

    def __init__(self, home: DeviceHome, store: EventSource | None = None, *, personal_steps: int = 0) -> None:
        self._home = home
        self._users = Users(store or LocalStore.open(home.store), home.state, personal_steps=personal_steps)
        self._reloading = threading.Lock()
        self._loaded = Loaded()
        self._rankings: dict[str, _Ranking] = {}
        self._fingerprint: object = None
        self.reload()

    def recommend(
        self, user: str, k: int, exclude: Collection[str] = (), *, explain: bool = False
    ) -> list[Recommendation]:
        """Return the ``k`` best items for a user that are neither in the user's events nor in ``exclude``, best first.

        ``exclude``: raw item ids; unknown ones are passed over. Fewer than ``k`` where fewer are left. Raises
        ``ValueError`` for ``k`` below 1, ``DataError`` where there is no catalogue or no such user.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        loaded = self._loaded
        if loaded.items is None:
            raise DataError(f"{self._home.catalogues} holds no catalogue yet: the device fetches it when it is online")
        met, served = self._users.met(user), loaded.served
        if served is None:
            return _by_popularity(loaded.items, k, {*met.chosen, *met.dismissed, *exclude}, explain=explain)
        overlay, ranking = served.overlay, self._ranking(user, met, served)
        scores = ranking.scores.copy()
        scores[[overlay.model_codes[item] for item in exclude if item in overlay.model_codes]] = -np.inf
        best = best_items(scores, k)
        reasons = _reasons(served, ranking.private, ranking.history, best) if explain else [()] * len(best)
        return [
            _recommendation(overlay.items, overlay.catalogue_code(code), float(scores[code]), reason)
            for code, reason in zip(best.tolist(), reasons, strict=True)
        ]

    def _ranking(self, user: str, met: Met, served: Served) -> "_Ranking":
        """Return a user's scores, made anew where the events, the model or the user's vectors are others."""
        known = self._rankings.get(user)
        same = known is not None and known.met is met and known.served is served
        history = known.history if known is not None and same else _history(served.overlay, met)
        private = self._users.private(user, met, history, served.scorer, served.folding)
        if known is not None and same and known.private is private:
            return known
        own = known.own if known is not None and known.private is private and known.served is served else None
        own = served.scorer.own_scores(private) if own is None else own
        scores = served.scorer.scores(private, history, own)
        codes = served.overlay.model_codes
        scores[history.items] = -np.inf
        scores[[codes[item] for item in met.dismissed if item in codes]] = -np.inf
        scores[served.overlay.never] = -np.inf
        found = _Ranking(met=met, served=served, private=private, history=history, own=own, scores=scores)
        self._rankings = dict([*self._rankings.items(), (user, found)][-MOST_RANKINGS:])
        return found

    def knows(self, item: str) -> bool | None:
        """Return whether the catalogue has an item of this raw id; None where there is no catalogue yet."""
        items = self._loaded.items
        return None if items is None else item in items.codes

    def reload(self) -> bool:
        """Take up the versions that count now; return whether anything changed. A damaged one leaves the last good."""
        with self._reloading:
            now = fingerprint(self._home)
            if now == self._fingerprint:
                return False
            self._loaded = load(self._home, self._loaded)
            self._fingerprint = now
        return True

    def serving(self) -> Serving:
        """Return what recommendations come from just now."""
        loaded = self._loaded
        by_count = loaded.items is not None and loaded.items.popularity is not None
        return Serving(
            source="model" if loaded.served else "popularity" if by_count else "catalogue",
            model_version=loaded.served.version if loaded.served else 0,
            catalogue_version=loaded.catalogue_version,
            num_items=0 if loaded.items is None else len(loaded.items),
            problem=loaded.problem,
        )


def best_items(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the codes of the ``k`` largest scores above minus infinity, the largest first, as ``top_k`` orders them.

    Without sorting the whole catalogue.
    """
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero((scores >= least) & (scores > -np.inf))
    else:
        candidates = np.flatnonzero(scores > -np.inf)
    order = np.argsort(-scores[candidates], kind="stable")
    return candidates[order[:k]].astype(np.int64)


def _by_popularity(items: Items, k: int, left_out: Collection[str], *, explain: bool) -> list[Recommendation]:
    scores = np.zeros(len(items), np.float32) if items.popularity is None else items.popularity.copy()
    scores[[items.codes[item] for item in left_out if item in items.codes]] = -np.inf
    scores[items.reserved] = -np.inf
    by_count = items.popularity is not None
    text = "chosen by many; there is no model yet" if by_count else "next in the catalogue; there is no model yet"
    name = "popularity" if by_count else "catalogue"
    reasons = (Reason(kind="fallback", name=name, weight=0.0, text=text),) if explain else ()
    return [_recommendation(items, code, float(scores[code]), reasons) for code in best_items(scores, k).tolist()]


def _history(overlay: Overlay, met: Met) -> History:
    """Return a user's events in the model's codes; items that it does not know are left out."""
    code_of = overlay.model_codes.get
    codes = np.array([code_of(item, -1) for item in met.chosen], np.int64)
    known = np.flatnonzero(codes >= 0)
    return History(items=codes[known], latest=met.times[known[-1]] if len(known) else None)


def _reasons(
    served: Served, private: Private, history: History, best: NDArray[np.int64]
) -> Sequence[tuple[Reason, ...]]:
    scorer, overlay = served.scorer, served.overlay
    parts = scorer.parts(private, history)
    own = np.unique(history.items)
    names = [(overlay.model.item_ids[code], _title(overlay, code)) for code in own.tolist()]
    vectors, others = scorer.vectors(best), scorer.vectors(own)
    here = [overlay.catalogue_code(code) for code in history.items.tolist()]
    shown = np.array([code for code in here if code >= 0], np.int64)
    return [
        (
            *reasons_of_model(code, parts),
            *reasons_of_events(vector, others, names),
            *reasons_of_attributes(overlay.items, overlay.catalogue_code(code), shown),
        )
        for code, vector in zip(best.tolist(), vectors, strict=True)
    ]


def _title(overlay: Overlay, code: int) -> str:
    here = overlay.catalogue_code(code)
    return overlay.items.titles[here] if here >= 0 else overlay.model.item_ids[code]


def _recommendation(items: Items, code: int, score: float, reasons: tuple[Reason, ...]) -> Recommendation:
    return Recommendation(item=items.item_ids[code], title=items.titles[code], score=score, reasons=reasons)
