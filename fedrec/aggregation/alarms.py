"""What a monitor says when a round looks like somebody's work."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One monitor's finding. ``text`` names no item: events tell none; ``items`` is for the server's operator."""

    kind: str
    """exposure, uniformity, popularity, growth or drift."""
    text: str
    value: float
    bound: float
    items: tuple[int, ...] = field(default=())
    """Codes of the items it is about, worst first; empty where it is about all."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text} ({self.value:.3g}, bound {self.bound:.3g})"
