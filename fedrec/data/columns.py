"""Which column means what: the names that data sets use, matched to one vocabulary and echoed back. Reads no values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedrec.errors import DataError

EVENT_ROLES: Mapping[str, tuple[str, ...]] = {
    "user_id": ("user_id", "user", "uid", "query_id", "reviewer_id", "customer_id", "visitor_id", "member_id"),
    "item_id": (
        "item_id",
        "item",
        "iid",
        "movie_id",
        "parent_asin",
        "asin",
        "product_id",
        "book_id",
        "track_id",
        "song_id",
        "artist_id",
        "business_id",
        "venue_id",
        "article_id",
    ),
    "timestamp": ("timestamp", "time", "datetime", "date", "ts", "unix_time", "unix_review_time", "event_time"),
    "rating": ("rating", "weight", "score", "stars", "overall"),
}
"""Names of an event's columns by role, the preferred first; case, ``_``, ``-`` and blanks do not matter."""

ITEM_ROLES: Mapping[str, tuple[str, ...]] = {
    "item_id": EVENT_ROLES["item_id"],
    "title": ("title", "movie_title", "item_name", "product_title", "name"),
    "year": ("year", "release_year"),
    "genre": ("genre", "genres", "class"),
    "text": ("text", "description", "overview", "plot", "summary"),
}
"""Names of an item table's columns by role; other columns keep their own name."""


@dataclass(frozen=True, kw_only=True)
class ColumnMatch:
    """Where each role was found: ``positions`` by role, ``notes`` for whatever was not read by its own name."""

    positions: Mapping[str, int]
    notes: tuple[str, ...]


def match_columns(
    header: Sequence[str], roles: Mapping[str, Sequence[str]], required: Sequence[str], source: str
) -> ColumnMatch:
    """Find the column of each role; raise ``DataError`` naming ``source`` if a required one is not there.

    Of several columns for one role the first name in ``roles`` wins.
    """
    plain = [_plain(name) for name in header]
    positions: dict[str, int] = {}
    for role, names in roles.items():
        found = [plain.index(_plain(name)) for name in names if _plain(name) in plain]
        if found:
            positions[role] = found[0]
    for role in required:
        if role not in positions:
            raise DataError(
                f"{source}: no column for {role} among {', '.join(header)}; "
                f"rename one of them to {role} (also known: {', '.join(roles[role][1:])})"
            )
    renamed = [f"read {header[at]} as {role}" for role, at in positions.items() if header[at] != role]
    return ColumnMatch(positions=positions, notes=tuple(renamed))


def ignored_note(header: Sequence[str], match: ColumnMatch) -> tuple[str, ...]:
    """Return a note that names the columns which no role claimed; empty if there are none."""
    ignored = [name for at, name in enumerate(header) if at not in match.positions.values()]
    return (f"ignored column{'s' * (len(ignored) > 1)} {', '.join(ignored)}",) if ignored else ()


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
