"""How far a device is trusted, from how its replies were judged before: pure, by device key.

It rests on what is wrong with a reply's form, seal or bound, which never happens to an honest device, and on nothing
that depends on anybody's data: so the weights are constants of a round under every placement of noise.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from fedrec.errors import DataError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Reputation:
    """Scores in [0, 1] by device key; a device that is not listed has 1: nothing is known against it.

    A round in which a device's reply was set aside multiplies its distance from 0 with ``fall``; a round in which one
    was taken brings it ``recovery`` of the way back to 1. Below ``excluded`` a device weighs 0.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    fall: float = 0.5
    recovery: float = 0.1
    excluded: float = 0.2

    def __post_init__(self) -> None:
        rates = {"fall": self.fall, "recovery": self.recovery, "excluded": self.excluded}
        for name, value in {**rates, **{f"score of {key!r}": score for key, score in self.scores.items()}}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")

    def score(self, key: str) -> float:
        """Return a device's score."""
        return self.scores.get(key, 1.0)

    def after(self, taken: Iterable[str], set_aside: Iterable[str]) -> Self:
        """Return the scores after a round. A device both of whose kinds came fell: one bad reply is enough."""
        bad = set(set_aside)
        scores = dict(self.scores)
        for key in set(taken) - bad:
            if key in scores:
                scores[key] += self.recovery * (1 - scores[key])
        for key in bad:
            scores[key] = self.fall * self.score(key)
        kept = {key: score for key, score in sorted(scores.items()) if score < 0.999}
        return type(self)(scores=kept, fall=self.fall, recovery=self.recovery, excluded=self.excluded)

    def weights(self) -> dict[str, float]:
        """Return what replies of devices that are not trusted in full are to be multiplied with (``Capped``)."""
        return {key: score if score >= self.excluded else 0.0 for key, score in self.scores.items()}

    def to_json(self) -> str:
        """Return the scores as a document."""
        return json.dumps({"version": VERSION, "scores": dict(self.scores)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what ``to_json`` wrote; raise ``DataError`` for anything else."""
        try:
            document = json.loads(text)
            if document["version"] != VERSION:
                raise DataError(f"these reputations are of version {document['version']}, this is {VERSION}: upgrade")
            return cls(scores={str(key): float(score) for key, score in document["scores"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "the reputations of devices cannot be read: delete the file, and all devices are trusted again"
            ) from error
