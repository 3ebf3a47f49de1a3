"""Tables of what could be otherwise: the sequence encoder and its scope, and ratings beside the ranking."""

from statistics import fmean

from simulations.benches.figures import table
from simulations.benches.quality import prose
from simulations.benches.quality.cells import NOT_RUN, with_ends
from simulations.benches.quality.matrix import (
    ENCODERS,
    RATINGS_ALONE,
    SCOPES,
    TASKS_FIXED,
    TASKS_LEARNED,
    TRIO,
    encoder_variant,
)
from simulations.benches.quality.row import METRICS
from simulations.benches.quality.stored import Stored

_LABELS = {"gru": "GRU", "lstm": "LSTM", "sasrec": "self-attention (SASRec)", "cnn": "convolution"}
_TASKS = {
    "ranking alone": TRIO,
    "ratings alone": RATINGS_ALONE,
    "both, fixed weights": TASKS_FIXED,
    "both, learned weights": TASKS_LEARNED,
}
_BASELINES = ("global-mean", "item-mean")


def encoder_section(stored: Stored) -> str:
    """Return HR@10 / NDCG@10 of each encoder alone under each scope."""
    rows = [
        [_LABELS[encoder], *(_means(stored, encoder_variant(encoder, scope)) for scope in SCOPES)]
        for encoder in ENCODERS
    ]
    return f"{prose.ENCODERS}\n\n{table(['', *SCOPES], rows)}"


def task_section(stored: Stored) -> str:
    """Return the ranking and the rating task alone and together."""
    rows = [[label, *_task(stored, variant)] for label, variant in _TASKS.items()]
    rows += [[f"{name.replace('-', ' ')}, central", "", "", *_errors(stored, TASKS_FIXED, name)] for name in _BASELINES]
    return f"{prose.TASKS}\n\n{table(['', 'HR@10', 'NDCG@10', 'RMSE', 'MAE'], rows)}"


def _task(stored: Stored, variant: str) -> list[str]:
    scored = None if variant == RATINGS_ALONE else stored.scored(variant)
    ranked = ["", ""] if variant == RATINGS_ALONE else [NOT_RUN, NOT_RUN]
    if scored:
        ranked = [with_ends(scored.interval(metric)) for metric in METRICS]
    return [*ranked, *(["", ""] if variant == TRIO else _errors(stored, variant, "model"))]


def _errors(stored: Stored, variant: str, name: str) -> list[str]:
    found = [summary.ratings[name] for summary in stored.summaries(variant) if name in summary.ratings]
    return [f"{fmean(one[key] for one in found):.3f}" if found else NOT_RUN for key in ("rmse", "mae")]


def _means(stored: Stored, variant: str) -> str:
    scored = stored.scored(variant)
    return " / ".join(f"{scored.mean(metric):.3f}" for metric in METRICS) if scored else NOT_RUN
