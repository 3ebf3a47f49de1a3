"""Which of a scenario's defences apply to a round: by what its replies are, and by where their noise is.

Under user-level privacy the bounds are the mechanism's, which devices keep and the fold checks. Those of ``robustness``
are for runs without.
"""

from collections.abc import Mapping

from torch import Tensor

from fedrec.aggregation.defences import Defence, Known
from fedrec.aggregation.exact_sum import ExactSum
from fedrec.aggregation.free_riders import FreeRiders
from fedrec.aggregation.rule import Rule
from fedrec.aggregation.wrappers import Capped, owner_weights
from fedrec.flower.roster import Roster
from fedrec.flower.state import RoundReport, RunState
from fedrec.flower.templates import allowed_reply
from fedrec.flower.terms import Terms
from fedrec.models.split import SharedState, trainable
from fedrec.privacy.adaptive_clipping import WITHIN
from fedrec.rounds import Contribution, TrainTask
from fedrec.training.head_rows import ITEM_PARAMETERS

ITEM_TABLES = frozenset(ITEM_PARAMETERS)
BOUNDS = ("clip_norm", "row_clip_norm", "items_clip_norm", "aggregate_row_norm")
"""Settings of ``robustness`` in whose place the mechanism's bounds are."""


def rule_for(terms: Terms, task: TrainTask, roster: Roster, last_step: Mapping[str, Tensor] | None = None) -> Rule:
    """Return what takes the replies to a task. Rounds of statistics are summed: of counts there is no median.

    ``last_step``: of training, for who gives it back.
    """
    rule = _rule(terms, task, roster)
    if not looks_for_free_riders(terms, task):
        return rule
    return FreeRiders(inner=rule, last_step=last_step or None, apart={WITHIN})


def looks_for_free_riders(terms: Terms, task: TrainTask) -> bool:
    """Return whether replies to a task are looked at one by one for those that are nobody's work.

    Under central noise it is no business of whoever reads events whether a user's update was empty; under distributed
    noise no reply is to be looked at alone.
    """
    placement = task.mechanism.placement if task.mechanism else None
    seen = placement in (None, "device") and task.contribution is Contribution.UPDATE
    return terms.robustness.free_riders and seen


def step_between(terms: Terms, before: RunState, after: RunState, report: RoundReport) -> dict[str, Tensor]:
    """Return the last step of training after a round, where replies are held against it; else nothing.

    A round that moved nothing leaves the one before: that is what a free-rider still has.
    """
    if not terms.robustness.free_riders or report.contribution is not Contribution.UPDATE:
        return before.step
    old, new = trainable(before.shared), trainable(after.shared)
    moved = {name: new[name] - old[name] for name in new if new[name].is_floating_point()}
    return moved if any(bool(step.any()) for step in moved.values()) else before.step


def _rule(terms: Terms, task: TrainTask, roster: Roster) -> Rule:
    template = allowed_reply(task, terms.num_items)
    placement = task.mechanism.placement if task.mechanism else None
    weights = {} if placement == "distributed" else weights_of(terms, roster)
    if task.contribution is not Contribution.UPDATE or placement == "distributed":
        return _capped(ExactSum(template), weights)
    config = terms.robustness
    if task.mechanism is not None:
        config = config.model_copy(update=dict.fromkeys(BOUNDS))
    known = Known(item_tables=ITEM_TABLES, template=template, weights=weights, apart={WITHIN})
    return Defence(config=config).rule(known)


def weights_of(terms: Terms, roster: Roster) -> dict[str, float]:
    """Return the weights of nodes whose owner has more than ``robustness.owner_share`` of the roster's users."""
    if terms.enrolment is None or terms.robustness.owner_share == 1:
        return {}
    owners = {card.key: terms.enrolment.owner(card.key) or f"device {card.key}" for card in roster.cards}
    users = {card.key: card.num_users for card in roster.cards}
    return owner_weights(users, owners, terms.robustness.owner_share)


def with_rows_held(terms: Terms, shared: SharedState, popularity: Tensor | None) -> SharedState:
    """Return the shared parameters that a step of training ends with, item rows held to their kind."""
    return Defence(config=terms.robustness).settled(shared, popularity, ITEM_TABLES)


def _capped(rule: Rule, weights: Mapping[str, float]) -> Rule:
    return Capped(inner=rule, weights=weights) if weights else rule
