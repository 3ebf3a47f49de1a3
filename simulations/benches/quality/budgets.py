"""The presets for a privacy budget beside the floor that may spend as much."""

from collections.abc import Iterator
from dataclasses import dataclass

from fedrec.evaluation.bootstrap import Interval
from fedrec.runs.labels import epsilon_label
from simulations.benches.figures import table
from simulations.benches.quality import prose
from simulations.benches.quality.cells import NOT_RUN, signed, with_ends
from simulations.benches.quality.matrix import EPSILONS
from simulations.benches.quality.row import DP_FLOOR, METRICS
from simulations.benches.quality.stored import Scored, Stored, gap


@dataclass(frozen=True, kw_only=True, eq=False)
class Budget:
    """One epsilon. ``model``, ``floor``: None where no run is stored. ``spent``: what the runs' ledgers say at most."""

    epsilon: int
    model: Scored | None
    floor: Scored | None
    spent: float | None
    delta: float | None

    def gap(self, metric: str) -> Interval | None:
        """Return the model less DP popularity, paired by user, with its 95 % interval."""
        return gap(self.model, self.floor, metric) if self.model and self.floor else None


def budgets(stored: Stored) -> Iterator[Budget]:
    """Yield what is stored of each epsilon."""
    for epsilon in EPSILONS:
        variant = f"dp-{epsilon}"
        known = [summary.privacy for summary in stored.summaries(variant) if summary.privacy]
        yield Budget(
            epsilon=epsilon,
            model=stored.scored(variant),
            floor=stored.scored(variant, DP_FLOOR),
            spent=max((one.epsilon for one in known), default=None),
            delta=known[0].delta if known else None,
        )


def budget_section(stored: Stored, *, first: bool) -> str:
    """Return model, floor and their distance for each epsilon; what they mean is said at the first."""
    rows = [_row(budget) for budget in budgets(stored)]
    columns = ["epsilon", "spent, at delta"]
    columns += [f"{name}{metric}" for metric in ("HR@10", "NDCG@10") for name in ("", "DP popularity ", "paired ")]
    head = f"{prose.BUDGETS}\n\n{prose.RECIPE}" if first else prose.BUDGETS
    return f"{head}\n\n{table([*columns, 'seeds'], rows)}"


def _row(budget: Budget) -> list[str]:
    if budget.model is None or budget.spent is None or budget.delta is None:
        return [str(budget.epsilon), NOT_RUN, *[""] * (3 * len(METRICS) + 1)]
    cells = [str(budget.epsilon), f"{epsilon_label(budget.spent, 3)}, {budget.delta:.1e}"]
    for metric in METRICS:
        distance = budget.gap(metric)
        cells.append(with_ends(budget.model.interval(metric)))
        cells.append(with_ends(budget.floor.interval(metric)) if budget.floor else NOT_RUN)
        cells.append(signed(distance) if distance else NOT_RUN)
    return [*cells, str(len(budget.model.seeds))]
