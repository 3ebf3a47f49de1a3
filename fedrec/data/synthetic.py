"""A seeded population with the structure that recommenders live on. Public, private data of nobody; knows no files.

Four signals, each of which one kind of model can use: popularity skew (Zipf), hidden taste clusters (collaborative
filtering), items that follow items (sequences), genres and years that go with the clusters (content).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.items import ItemTable
from fedrec.data.log import InteractionLog

GENRES = ("Adventure", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Horror", "Romance")
FIRST_WORDS = ("Amber", "Broken", "Distant", "Golden", "Hidden", "Last", "Paper", "Quiet", "Silver", "Winter")
SECOND_WORDS = ("Bridge", "City", "Garden", "Harbour", "Letter", "Mirror", "River", "Road", "Station", "Summer")

ITEMS_A_CLUSTER = 16
CLUSTERS_A_GENRE = 4
SUCCESSORS = 3
FOLLOW_RATE = 0.25
"""Probability that the next item is a successor of the last one."""
TREND_RATE = 0.1
"""Probability that it is drawn by appeal alone, whatever the user's taste; the rest are drawn from taste."""
ZIPF_EXPONENT = 1.0
TASTE_CONCENTRATION = 0.06
"""Dirichlet parameter of users over clusters: small means that each user likes few of them."""
MEDIAN_EVENTS = 22
MAX_EVENTS = 150
HOURS_BETWEEN_EVENTS = 6.0
BLOCK_USERS = 50_000
"""Users whose walks are held at a time; a larger population is drawn block after block from the same generator."""
FIRST_SECOND = 1_577_836_800
"""2020-01-01 00:00 UTC."""
SECONDS_A_YEAR = 31_536_000


def synthetic_population(*, num_users: int, num_items: int, seed: int) -> tuple[InteractionLog, ItemTable]:
    """Return a log and its items; the same arguments give the same bytes.

    A user meets an item at most once, has up to ``MAX_EVENTS`` events and no ties. Users and items are named 1, 2, ...,
    independently of popularity; an item may be without events.
    """
    rng = np.random.default_rng(seed)
    world = _World.draw(num_items, rng)
    users, items = _meetings(world, num_users, rng)
    times = _times(users, num_users, rng)
    order = np.lexsort((users, times))
    log = InteractionLog(
        users=users[order],
        items=items[order],
        timestamps=times[order],
        rows=np.arange(len(order), dtype=np.int64),
        user_ids=tuple(str(user + 1) for user in range(num_users)),
        item_ids=tuple(str(item + 1) for item in range(num_items)),
    )
    return log, _table(world, rng)


@dataclass(frozen=True, kw_only=True, eq=False)
class _World:
    """What is true of the items, whoever meets them.

    ``cluster``: int64 ``[num_items]``. ``appeal``: float64 ``[num_items]``, Zipf weights. ``successors``: int64
    ``[num_items, SUCCESSORS]``.
    """

    cluster: NDArray[np.int64]
    appeal: NDArray[np.float64]
    successors: NDArray[np.int64]

    @classmethod
    def draw(cls, num_items: int, rng: np.random.Generator) -> "_World":
        num_clusters = min(max(num_items // ITEMS_A_CLUSTER, 1), CLUSTERS_A_GENRE * len(GENRES))
        cluster = rng.permutation(np.arange(num_items) % num_clusters)
        appeal = np.array((rng.permutation(num_items) + 1.0) ** -ZIPF_EXPONENT)
        shares = [np.where(cluster == c, appeal, 0.0) for c in range(num_clusters)]
        # successors are of the same cluster: which of its items comes next is what only a sequence can tell
        successors = [rng.choice(num_items, SUCCESSORS, p=shares[c] / shares[c].sum()) for c in cluster]
        return cls(cluster=cluster, appeal=appeal, successors=np.array(successors))

    @property
    def num_clusters(self) -> int:
        return int(self.cluster.max()) + 1


def _meetings(world: _World, num_users: int, rng: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return user and item of each event, int32 ``[num_events]``, ordered by user and step; drawn block by block."""
    blocks = []
    for start in range(0, num_users, BLOCK_USERS):
        walks = _walks(world, min(BLOCK_USERS, num_users - start), rng)
        users, items = _first_meetings(walks, len(world.cluster), rng)
        blocks.append(((users + start).astype(np.int32), items.astype(np.int32)))
    return np.concatenate([users for users, _ in blocks]), np.concatenate([items for _, items in blocks])


def _walks(world: _World, num_users: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return what each user meets step by step, repeats included, int64 ``[num_users, steps]``."""
    taste = rng.dirichlet(np.full(world.num_clusters, TASTE_CONCENTRATION), size=num_users).cumsum(axis=1)
    by_cluster = np.argsort(world.cluster, kind="stable")
    share = np.cumsum(world.appeal[by_cluster])
    ends = share[np.cumsum(np.bincount(world.cluster)) - 1]
    starts = np.concatenate([[0.0], ends[:-1]])
    walks = np.empty((num_users, 2 * MAX_EVENTS), dtype=np.int64)
    for step in range(walks.shape[1]):
        drawn, place, kind, which = rng.random((4, num_users))
        cluster = np.minimum((taste < drawn[:, None]).sum(axis=1), world.num_clusters - 1)
        by_taste = starts[cluster] + place * (ends - starts)[cluster]
        at = np.searchsorted(share, np.where(kind < TREND_RATE, place * share[-1], by_taste))
        walks[:, step] = by_cluster[np.minimum(at, len(share) - 1)]
        if step:
            successor = world.successors[walks[:, step - 1], (which * SUCCESSORS).astype(np.int64)]
            walks[:, step] = np.where(kind > 1 - FOLLOW_RATE, successor, walks[:, step])
    return walks


def _first_meetings(
    walks: NDArray[np.int64], num_items: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep first meetings up to each user's number of events; return users and items, ordered by user and step."""
    num_users, num_steps = walks.shape
    most = max(2, min(MAX_EVENTS, num_items // 2))
    wanted = np.clip(rng.lognormal(np.log(MEDIAN_EVENTS), 0.7, num_users), 2, most).astype(np.int64)
    keys = (np.arange(num_users)[:, None] * num_items + walks).ravel()
    first = np.sort(np.unique(keys, return_index=True)[1])
    users = first // num_steps
    starts = np.searchsorted(users, np.arange(num_users))
    kept = np.arange(len(first)) - starts[users] < wanted[users]
    return users[kept], walks.ravel()[first[kept]]


def _times(users: NDArray[np.int32], num_users: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return whole seconds that rise with every event of a user, float64 ``[num_events]``."""
    gaps = 1 + rng.exponential(HOURS_BETWEEN_EVENTS * 3600, len(users)).astype(np.int64)
    elapsed = np.cumsum(gaps)
    before = np.concatenate([[0], elapsed])[np.searchsorted(users, np.arange(num_users))]
    begins = FIRST_SECOND + rng.integers(0, SECONDS_A_YEAR, num_users)
    return np.array(begins[users] + elapsed - before[users], dtype=np.float64)


def _table(world: _World, rng: np.random.Generator) -> ItemTable:
    num_items = len(world.cluster)
    years = rng.normal(rng.uniform(1965, 2015, world.num_clusters)[world.cluster], 6).clip(1950, 2023).astype(np.int64)
    second_genre = np.where(rng.random(num_items) < 0.3, rng.integers(0, len(GENRES), num_items), -1)
    genres = [
        tuple(dict.fromkeys(GENRES[g] for g in (cluster % len(GENRES), extra) if g >= 0))
        for cluster, extra in zip(world.cluster, second_genre, strict=True)
    ]
    words = zip(rng.choice(FIRST_WORDS, num_items), rng.choice(SECOND_WORDS, num_items), strict=True)
    return ItemTable(
        item_ids=tuple(str(item + 1) for item in range(num_items)),
        token={"year": tuple(map(str, years))},
        token_seq={"genre": tuple(genres)},
        text={"title": tuple(f"{first} {second} {number}" for number, (first, second) in enumerate(words, 1))},
    )
