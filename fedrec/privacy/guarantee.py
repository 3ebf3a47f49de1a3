"""What an epsilon is about: the unit, the adjacency and the adversary. Epsilons of different guarantees do not add."""

from dataclasses import dataclass
from typing import Literal, get_args

Unit = Literal["user", "interaction"]
Adjacency = Literal["add-or-remove-one", "zero-out", "replace-one"]
Adversary = Literal["broadcast", "server", "secure-sum"]

_UNITS = {
    "user": "user: all interactions of one person",
    "interaction": "interaction: one event of one person",
}
_ADVERSARIES = {
    "broadcast": "broadcast: everybody who receives the model; the server is trusted with clipped sums",
    "server": "server: whoever sees what a device sends",
    "secure-sum": "secure sum: the server and everybody who receives the model, if no single contribution is seen",
}
_ADJACENCIES = {
    "add-or-remove-one": "add or remove one {unit} (zero-out for the frozen roster)",
    "zero-out": "replace one {unit} by nothing, where everything else keeps its place",
    "replace-one": "replace one {unit} by any other",
}
_ON_DEVICE = (
    "the device clips and adds all of the noise itself, as its own code does",
    "noise is drawn from a generator that the adversary cannot predict",
)
"""Of a user's whole data, against whoever sees what a device sends."""
SAMPLED = "cohorts are Poisson samples of the roster, and who was sampled stays hidden from the adversary"
"""Assumed by user-level claims whose epsilon counts sampling, and by no other."""
_ASSUMPTIONS = {
    "broadcast": (
        SAMPLED,
        "noise is drawn from a generator that the adversary cannot predict",
        "nodes clip as they are told, and the server adds the noise",
    ),
    "secure-sum": (
        "the server sees no contribution but in a sum over at least the stated number of users",
        "as many of them add their share of noise, from generators that the adversary cannot predict",
    ),
    "server": (
        "batches on the device are Poisson samples that the adversary does not see",
        "noise is drawn from a generator that the adversary cannot predict",
    ),
}
NOT_COVERED = (
    "the item catalogue, the roster's size and the settings, which are public",
    "that a person takes part, and when: network metadata, timing, side channels",
    "choosing settings by looking at the same users",
    "attacks on the floating-point representation of noise",
    "figures measured without noise in a simulation, which are for its researcher",
)
"""What no epsilon of fedrec speaks about, whatever its guarantee."""


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """The words without which an epsilon means nothing.

    ``adjacency``: data sets differ by one unit added or removed, or by one unit's data replaced by nothing (zero-out).
    The sensitivity of a clipped sum is the clip norm under both, and so is what an event costs.
    """

    unit: Unit = "user"
    adjacency: Adjacency = "add-or-remove-one"
    adversary: Adversary = "broadcast"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("unit", self.unit, get_args(Unit)),
            ("adjacency", self.adjacency, get_args(Adjacency)),
            ("adversary", self.adversary, get_args(Adversary)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")

    def __str__(self) -> str:
        return f"{self.unit}, {self.adjacency}, {self.adversary}"

    @property
    def unit_text(self) -> str:
        """The unit in words."""
        return _UNITS[self.unit]

    @property
    def adjacency_text(self) -> str:
        """The adjacency in words."""
        return _ADJACENCIES[self.adjacency].format(unit=self.unit)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must be true of the world for the guarantee to hold, if its cohorts are sampled."""
        if self.adversary == "server" and self.unit == "user":
            return _ON_DEVICE
        return _ASSUMPTIONS[self.adversary]

    @property
    def adversary_text(self) -> str:
        """The adversary in words, with whom it trusts."""
        return _ADVERSARIES[self.adversary]


USER_LEVEL = Guarantee()
"""The default claim: one user's whole data, against everybody who receives the model."""

INTERACTION_LEVEL = Guarantee(unit="interaction", adjacency="zero-out", adversary="server")
"""The optional layer on the device: one interaction, against whoever sees what the device sends."""
