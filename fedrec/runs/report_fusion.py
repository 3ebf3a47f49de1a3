"""The report's section on the fusion: its weights, and the fusion beside its parts."""

from collections.abc import Mapping

from fedrec.runs.html import element, figure, table, text
from fedrec.runs.labels import BRANCH_LABELS, metric_label
from fedrec.runs.summary import Summary


def fusion_section(summary: Summary, pictures: Mapping[str, str]) -> str:
    """Return the weights, what each part reaches alone, and the picture where it was drawn."""
    if not summary.fusion:
        return ""
    rows = [(BRANCH_LABELS.get(name, name), [f"{weight:.3f}"]) for name, weight in summary.fusion.items()]
    return element(
        "section",
        text("h2", "What the model listens to"),
        text("p", "Final weight of each branch and member in the fused score.", class_="lead"),
        table(["branch or member", "weight"], rows, class_="scroll narrow"),
        _parts(summary),
        figure(
            pictures.get("fusion", ""),
            "Fusion weights by round. A widening band is a branch that the federation learns to trust.",
        ),
    )


def _parts(summary: Summary) -> str:
    """Set the fusion beside its parts."""
    if not summary.parts:
        return ""
    named = {"the fusion": summary.metrics, **summary.parts}
    rows = [
        (BRANCH_LABELS.get(name, name), [f"{found['hr@10']:.3f}", f"{found['ndcg@10']:.3f}"])
        for name, found in named.items()
    ]
    gaps = ", ".join(
        f"{metric_label(metric)} {mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        for metric, (mean, low, high) in summary.gain.items()
    )
    best = BRANCH_LABELS.get(summary.best_part, summary.best_part)
    return table(["alone", "HR@10", "NDCG@10"], rows, class_="scroll narrow") + text(
        "p", f"The fusion less its best part ({best}), paired by user, with 95 % interval: {gaps}."
    )
