"""Holds back what production code logs in an audit, where users are made to be left out and replies to be refused."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unlogged() -> Iterator[None]:
    """Let no record up to an error through, so that what is provoked does not look like a fault of the audit."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        yield
    finally:
        logging.disable(before)
