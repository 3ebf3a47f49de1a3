"""What cannot be trained on the data at hand is left out of the fusion, with a sentence that says why."""

from fedrec.config import Scenario
from fedrec.data.load import Dataset
from fedrec.errors import ConfigError
from fedrec.statistics.collection import item_limit

BY_ORDER = ("seq", "neighbours", "markov")
"""Made from the order of events."""


def without_the_unable(scenario: Scenario, dataset: Dataset) -> tuple[Scenario, list[str]]:
    """Return the scenario with the branches and members that can be trained, and a sentence for each that cannot.

    Raises ``ConfigError`` where none is left, naming the first and its reason.
    """
    model = scenario.model
    named = {name: _reason(name, scenario, dataset) for name in (*model.branches, *model.members)}
    reasons = {name: reason for name, reason in named.items() if reason}
    if not reasons:
        return scenario, []
    branches = tuple(name for name in model.branches if name not in reasons)
    members = tuple(name for name in model.members if name not in reasons)
    notes = [f"{name} was left out of the fusion: {reason}" for name, reason in reasons.items()]
    if not branches and not members:
        raise ConfigError(f"nothing is left to recommend by; {'; '.join(notes)}: name another in model.branches")
    able = model.model_copy(update={"branches": branches, "members": members})
    rounds = scenario.training.rounds if branches else 0
    training = scenario.training.model_copy(update={"rounds": rounds})
    return scenario.model_copy(update={"model": able, "training": training}), notes


def _reason(name: str, scenario: Scenario, dataset: Dataset) -> str:
    num_items, limit = dataset.catalogue.num_items, item_limit(name)
    if limit is not None and num_items > limit:
        return f"it is made from pairs of at most {limit} items, and there are {num_items}"
    if name in BY_ORDER and not (dataset.log.has_time or scenario.data.ordered):
        return "it reads the order of events, and this source has none (data.ordered=false)"
    return ""
