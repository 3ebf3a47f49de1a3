"""The report's sections on whom a run serves: groups of users, new users, and the lists that all of them are shown."""

from collections.abc import Mapping

from fedrec.runs.html import element, figure, table, text, with_detail
from fedrec.runs.labels import floor_label, headline_k, headline_metrics, metric_label
from fedrec.runs.summary import GroupingSummary, NewUserSummary, Summary

OWN = "this run"

LIST_METRICS = {
    "coverage": "catalogue shown",
    "gini": "Gini of exposure",
    "novelty": "novelty, bits",
    "popularity_lift": "popularity lift",
    "diversity": "diversity",
    "serendipity": "serendipity",
}
"""Rows of the table of lists; miscalibration by attribute follows them."""


def people_sections(summary: Summary, pictures: Mapping[str, str]) -> str:
    """Return the sections that the summary has figures for, each with its tables; pictures where they were drawn."""
    return _groups(summary, pictures) + _new_users(summary) + _lists(summary)


def _groups(summary: Summary, pictures: Mapping[str, str]) -> str:
    if not summary.groups:
        return ""
    return element(
        "section",
        text("h2", "Whom it serves"),
        text(
            "p",
            "The same figures by group of users. The lowest of many means is low by chance too: p says how often users "
            "dealt out at random would differ as much.",
            class_="lead",
        ),
        *(_grouping(summary, grouping, pictures) for grouping in summary.groups),
    )


def _grouping(summary: Summary, grouping: GroupingSummary, pictures: Mapping[str, str]) -> str:
    metrics = headline_metrics(summary.protocol.ks)
    first = metrics[0]
    worst = next(group for group in grouping.groups if group.label == grouping.worst[first])
    said = (
        f"Worst by {metric_label(first)}: {worst.label}, {worst.means[first]:.3f} against {summary.metrics[first]:.3f} "
        f"of all; best less worst {grouping.gap[first]:.3f}, p = {grouping.p[first]:.3f}."
    )
    rows = [
        (
            f"{group.label} (worst)" if group is worst else group.label,
            [
                f"{group.num_users:,}",
                *(with_detail(f"{group.means[name]:.3f}", f"+- {group.errors[name]:.3f}") for name in metrics),
            ],
        )
        for group in grouping.groups
    ]
    caption = (
        f"By {grouping.name}. Points are means, lines one standard error to either side, the dashed line is the mean "
        "of all; the worst group is a diamond."
    )
    drawing = pictures.get(f"groups:{grouping.name}", "")
    columns = [grouping.name, "users", *map(metric_label, metrics)]
    shown = table(columns, rows, own=f"{worst.label} (worst)", class_="scroll narrow")
    return element(
        "div",
        text("h3", f"By {grouping.name}"),
        text("p", said),
        figure(drawing, caption) + element("details", text("summary", "The same as a table"), shown)
        if drawing
        else shown,
    )


def _new_users(summary: Summary) -> str:
    found = summary.new_users
    if found is None or not found.by_events:
        return ""
    metrics = headline_metrics(summary.protocol.ks)
    rows = [(_known(label), _new_user_cells(quality, metrics)) for label, quality in found.by_events.items()]
    strict = [f"{metric_label(name)}, strict" for name in metrics]
    return element(
        "section",
        text("h2", "New users"),
        text(
            "p",
            f"{found.num_users:,} users, fold {found.fold} of {found.folds}, took part in no round. Their devices have "
            "the model and only so many of their last events. Strict: what such a user took before stays in the "
            "ranking, where each item that the model rightly likes counts as a miss.",
            class_="lead",
        ),
        table(["known events", *map(metric_label, metrics), *strict], rows),
        text("p", "fedrec compare --new-users sets these figures beside a run that trained with the same users."),
    )


def _known(label: str) -> str:
    return "all" if label == "all" else f"the last {label}" if label != "1" else "the last one"


def _new_user_cells(quality: NewUserSummary, metrics: list[str]) -> list[str]:
    bounds = [quality.intervals.get(name) for name in metrics]
    own = [
        with_detail(f"{quality.metrics[name]:.3f}", f"{b[0]:.3f} to {b[1]:.3f}" if b else "")
        for name, b in zip(metrics, bounds, strict=True)
    ]
    return [*own, *(f"{quality.strict[name]:.3f}" for name in metrics)]


def _lists(summary: Summary) -> str:
    if not summary.lists:
        return ""
    k = headline_k(summary.protocol.ks)
    own = summary.lists.get("model", {})
    skewed = [name for name in own if name.startswith("miscalibration(") and name.endswith(f")@{k}")]
    named = {f"{name}@{k}": label for name, label in LIST_METRICS.items()}
    named |= {name: f"miscalibration by {name.partition('(')[2].partition(')')[0]}, bits" for name in skewed}
    columns = {floor_label(name): found for name, found in summary.lists.items() if name != "model"} | {OWN: own}
    rows = [
        (label, [f"{found[name]:.3f}" if name in found else "-" for found in columns.values()])
        for name, label in named.items()
        if name in own
    ]
    return element(
        "section",
        text("h2", "What is shown"),
        text(
            "p",
            "Gini: 0 if all items are shown equally often. Popularity lift: 1 if lists are as popular as what their "
            "users take. Miscalibration: 0 if a list mixes as its user's history does.",
            class_="lead",
        ),
        table([f"lists of {k}", *columns], rows),
    )
