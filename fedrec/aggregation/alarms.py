"""What a monitor says when a round looks like somebody's work, as facts that logs, databases and pages keep apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One finding. ``text`` is a sentence's worth of what was found; whom it is about is in ``subject`` alone.

    Items are named by code, as far as what is odd about them follows from released figures; users never are.
    """

    kind: str
    """exposure, uniformity, popularity, growth or drift; conduct, idle, replay, disk, checkpoint of a run itself."""
    text: str
    value: float | None = None
    """What was found, and ``bound``: what it passed. None where neither is a number."""
    bound: float | None = None
    items: tuple[int, ...] = field(default=())
    """Codes of the items it is about, worst first; empty where it is about all."""
    node: str = ""
    tensor: str = ""

    @property
    def subject(self) -> str:
        """What it is about: items, a node or a tensor; empty where it is about the whole model, or the run."""
        if self.items:
            return f"item{'s' if len(self.items) > 1 else ''} {', '.join(map(str, self.items))}"
        if self.node:
            return f"node {self.node}"
        return f"tensor {self.tensor}" if self.tensor else ""

    def facts(self) -> dict[str, str | float | None]:
        """Return it as an event's facts. A number that is not finite is left out: JSON and databases have none."""
        named: dict[str, str | float | None] = {"subject": self.subject} if self.subject else {}
        numbers = {"value": self.value, "bound": self.bound}
        finite = {name: float(value) for name, value in numbers.items() if value is not None and isfinite(value)}
        return {"kind": self.kind, "text": self.text, **named, **finite}

    def __str__(self) -> str:
        return described(self.facts())


def described(facts: Mapping[str, object]) -> str:
    """Return an alarm's facts, as ``events.jsonl`` has them or had them before they had numbers, as one line."""
    subject = f"; {facts['subject']}" if facts.get("subject") else ""
    numbers = measure(facts.get("value"), facts.get("bound"))
    return f"{facts.get('kind') or 'alarm'}: {facts.get('text') or ''}{numbers}{subject}"


def measure(value: object, bound: object) -> str:
    """Return value and bound as the end of a line, as far as there are any."""
    told = [f"{value:.3g}"] if isinstance(value, int | float) else []
    told += [f"bound {bound:.3g}"] if isinstance(bound, int | float) else []
    return f" ({', '.join(told)})" if told else ""
