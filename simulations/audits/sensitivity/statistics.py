"""The statistics before training (``fedrec.statistics``) under the sensitivity fuzz."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedrec.config import ModelConfig
from fedrec.privacy.mechanism import Mechanism
from fedrec.statistics import collection
from simulations.audits.sensitivity.cases import draw_case
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Bounds, Case, Sum
from simulations.audits.sensitivity.people import Person, histories_of

EVERYTHING: tuple[str, ...] = ("popularity", "recent-popularity", "ease", "markov", "nearby")
"""Members that between them need every statistic."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All statistics of a model's members, each user's together bounded by one norm. A ``Pipeline``."""

    model: ModelConfig
    clip_norm: float = 1.0
    num_items: int = 8
    kinds: tuple[str, ...] = ("busy", "endless", "faithful", "once", "alternating", "nothing")
    endless: bool = True

    @property
    def words(self) -> str:
        """Which statistics."""
        names = ", ".join(collection.needed_statistics(self.model))
        cap = f" of the latest {self.model.item_cap} items" if self.model.item_cap else ""
        return f"statistics before training ({names}{cap}) over {self.num_items} items"

    @property
    def bounds(self) -> Bounds:
        """One norm for all of them."""
        return Bounds(whole=self.clip_norm)

    def sum_of(self, people: Sequence[Person]) -> Sum:
        """Return the sums over the people."""
        mechanism = Mechanism(clip_norm=self.clip_norm, noise_multiplier=1.0, sample_rate=1.0, population=100)
        return collection.statistics_sum(self.model, histories_of(people), self.num_items, mechanism)


def statistics(model: ModelConfig | None = None) -> tuple[Statistics, ...]:
    """Return settings of every statistic, and of those that ``model`` needs."""
    every = ModelConfig.model_validate({"branches": (), "members": EVERYTHING, "recency_end": 5e5, "recency_days": 1.0})
    shares = {"counts": 1.0, "pairs": 2.0, "gram": 3.0, "transitions": 4.0, "recency": 5.0}
    own = (Statistics(model=model),) if model else ()
    return (
        *own,
        Statistics(model=every),
        Statistics(model=every.model_copy(update={"item_cap": 3, "statistic_shares": tuple(shares.items())})),
        Statistics(model=ModelConfig(branches=("mf",)), clip_norm=0.1),
    )


def draw_statistics_case(draw: Draw, settings: Sequence[Statistics]) -> Case:
    """Draw one of the settings, a cohort, and who of it goes or is replaced."""
    setting = draw.one_of(settings)
    return draw_case(draw, replace(setting, clip_norm=setting.clip_norm * draw.one_of((1.0, 0.1, 50.0))))
