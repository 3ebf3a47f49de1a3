"""What a long simulation tells whoever watches it. Knows neither terminals nor files."""

from collections.abc import Mapping
from typing import Any, Protocol


class Progress(Protocol):
    """A watcher of one simulation. Calls arrive in order, from one thread; a watcher must not raise."""

    def phase(self, name: str, total_rounds: int) -> None:
        """Begin a phase of ``total_rounds`` rounds, ending the one before; 0 where the number is not known."""

    def round(self, row: Mapping[str, Any]) -> None:
        """Take the row of a finished round, as it stands in ``metrics.jsonl``."""

    def note(self, text: str) -> None:
        """Take one line for a person: what was read, skipped or decided."""


class Silence:
    """The watcher that says nothing."""

    def phase(self, name: str, total_rounds: int) -> None:
        """Ignore it."""

    def round(self, row: Mapping[str, Any]) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""
