"""What stands in a store's tables, for tests that look behind its methods."""

from clients.local_store import LocalStore


def num_replies(store: LocalStore) -> int:
    """Return how many replies wait."""
    with store._database.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM replies").fetchone()[0])


def consents(store: LocalStore) -> list[bool]:
    """Return all that the owner ever said, oldest first: whether consent was granted."""
    with store._database.reading() as connection:
        return [bool(row[0]) for row in connection.execute("SELECT granted FROM consents ORDER BY version")]
