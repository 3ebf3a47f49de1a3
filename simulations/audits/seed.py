"""The seed of an audit: what was asked for, or drawn anew, so that a pass is not that of one seed."""

import secrets

SEEDS = 2**32


def seed_or_drawn(seed: int | None) -> int:
    """Return the seed that was asked for, or one from the operating system: a pass must not be that of one seed."""
    return secrets.randbelow(SEEDS) if seed is None else seed
