"""The report's section on what was measured in other ways: federatedly, and of predicted ratings."""

from fedrec.runs.html import element, table, text
from fedrec.runs.labels import metric_label
from fedrec.runs.summary import Summary

_RATINGS = {"model": "this run", "global-mean": "mean of all ratings", "item-mean": "mean of the item's"}


def measures_section(summary: Summary) -> str:
    """Return the sections that the summary has figures for."""
    return _federated(summary) + _ratings(summary)


def _federated(summary: Summary) -> str:
    if not summary.federated:
        return ""
    rows = [
        (metric_label(name), [f"{value:.3f}", f"{error:.3f}"]) for name, (value, error) in summary.federated.items()
    ]
    return element(
        "section",
        text("h2", "Measured on the devices"),
        text(
            "p",
            "What one sum over users says of events that they kept out of training: everybody's ranks in one "
            "histogram, noised and charged where the run is private. Its users are few, so it differs from the figures "
            "above by chance too.",
            class_="lead",
        ),
        table(["", "estimate", "error of the noise"], rows, class_="scroll narrow"),
    )


def _ratings(summary: Summary) -> str:
    if not summary.ratings:
        return ""
    rows = [
        (_RATINGS.get(name, name), [f"{found['rmse']:.3f}", f"{found['mae']:.3f}"])
        for name, found in summary.ratings.items()
    ]
    return element(
        "section",
        text("h2", "Predicted ratings"),
        text("p", "Of the held-out events, beside what needs no model.", class_="lead"),
        table(["", "RMSE", "MAE"], rows, class_="scroll narrow"),
    )
