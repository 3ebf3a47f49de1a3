"""How quality is measured, and what is chosen by it."""

from typing import Annotated, Literal

from pydantic import Field

from fedrec.config.section import Count, Section


class SelectionConfig(Section):
    """Choosing the number of rounds on the validation event before the final training."""

    enabled: bool = False
    """Whether the number of rounds is chosen before the training that is tested."""
    every: Count = 5
    """Rounds between two looks at the validation event."""
    patience: Count = 3
    """Looks without improvement of ``metric`` after which the search stops."""
    metric: Literal["ndcg@10", "hr@10"] = "ndcg@10"
    """By which rounds, and the trials of a sweep, are chosen: a mean over users on the validation event."""


class EvaluationConfig(Section):
    """How quality is measured."""

    ks: tuple[Count, ...] = (5, 10, 20)
    """Lengths of the lists that metrics are of."""
    every: Annotated[int, Field(ge=0)] = 5
    """Rounds between points of the learning curve; 0 measures only the end."""
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Resamples of users for confidence intervals."""
    sampled_negatives: Annotated[int, Field(ge=0)] = 0
    """Also report the paper protocol with this many fixed negatives (99 in the literature); 0 does not."""
    floors: bool = True
    """Whether popularity, EASE and first-order Markov are measured beside the model."""
    new_user_events: tuple[Count, ...] = (1, 3, 5)
    """How many of their last events are known of the users that ``data.user_folds`` hides, one figure each."""
