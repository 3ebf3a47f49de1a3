"""The dashboard of simulations: one run, or several side by side, from what is in their folders at this moment.

Metrics of a simulation are not noised: the page is for the researcher at the machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedrec.aggregation.alarms import measure
from fedrec.errors import FedRecError
from fedrec.pages.charts import Series, lines
from fedrec.pages.document import Document, document, live_part
from fedrec.pages.parts import alarm, badge, clock, rounds_part, tiles
from fedrec.pages.rounds import Following, Told
from fedrec.runs.folder import RunFolder
from fedrec.runs.html import element, figure, table, text
from fedrec.runs.labels import headline_metrics, human_bytes, metric_label

EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Look:
    """What a run's folder held when it was looked at. ``rows``: of the final phase, or of the selection before it."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    phase: str
    told: Told
    metrics: tuple[str, str]
    budget: float | None
    trouble: str = ""


def look_at(folder: RunFolder, name: str, following: Following | None = None) -> Look:
    """Read a run that may be under way. A file that is damaged is told on the page, and does not end it.

    ``following``: of who looks often, and so reads each event once.
    """
    trouble, rows, told = "", [], Told()
    metrics, budget = ("hr@10", "ndcg@10"), None
    try:
        scenario = folder.scenario()
        first, second = headline_metrics(scenario.evaluation.ks)
        metrics = (first, second)
        budget = scenario.privacy.epsilon if scenario.privacy.enabled else None
        told = (following or Following(folder)).told()
        rows = folder.metrics()
    except (FedRecError, OSError, UnicodeDecodeError) as error:
        trouble = str(error)
    final = [row for row in rows if row["phase"] == "final"]
    phase = "final" if final else "selection"
    return Look(name, final or rows, phase, told, metrics, budget, trouble)


def dashboard(looks: Sequence[Look], *, live_seconds: float | None = None) -> Document:
    """Return the page of one run, or of several, the first of which has its rounds drawn out."""
    title = looks[0].name if len(looks) == 1 else f"{len(looks)} runs"
    header = element("header", text("p", "fedrec dashboard", class_="eyebrow"), text("h1", title))
    parts = [_overview(looks), text("h2", "How it learns"), _learning(looks)]
    parts += [text("h2", "Budget and traffic"), _spending(looks), text("h2", "Alarms"), _alarms(looks)]
    if any(look.told.set_aside for look in looks):
        parts += [text("h2", "Replies set aside"), _set_aside(looks)]
    for look in looks:
        parts += [text("h2", "Rounds" if len(looks) == 1 else f"Rounds of {look.name}"), rounds_part(look.told.rounds)]
    foot = text("footer", "Measured in simulation, without noise: these figures leave no real device.")
    return document(f"{title}: fedrec dashboard", header, live_part("run", *parts), foot, live_seconds=live_seconds)


def _overview(looks: Sequence[Look]) -> str:
    trouble = "".join(text("p", look.trouble, class_="warning") for look in looks if look.trouble)
    if len(looks) > 1:
        columns = ("run", "", "rounds", *(metric_label(name) for name in looks[0].metrics), "epsilon", "sent")
        return trouble + table(columns, [(look.name, _row(look, looks[0].metrics)) for look in looks])
    look = looks[0]
    entries = {
        "State": (_standing(look), look.told.why or f"last heard {clock(look.told.last)}"),
        "Rounds": (_progress(look), f"{look.phase} phase"),
        **{metric_label(name): (_last_metric(look, name), "mean over users") for name in look.metrics},
        "Epsilon": (_epsilon(look), f"of {look.budget:g}" if look.budget is not None else "no user-level privacy"),
        "Sent": (human_bytes(_sent(look)), "both directions, payload"),
        "Alarms": (str(len(look.told.alarms)), ""),
    }
    return trouble + tiles(entries)


def _row(look: Look, metrics: Sequence[str]) -> list[str]:
    values = [_last_metric(look, name) for name in metrics]
    return [
        badge(_standing(look)),
        *(text("span", value) for value in (_progress(look), *values, _epsilon(look))),
        text("span", human_bytes(_sent(look))),
    ]


def _learning(looks: Sequence[Look]) -> str:
    drawn = []
    for name in looks[0].metrics:
        series = [Series(look.name, _metric_points(look, name)) for look in looks]
        drawn.append(figure(lines(f"{metric_label(name)} by round", series), "Mean over the users that were measured."))
    if not any(drawn):
        return text("p", "Nothing has been measured yet.", class_="caption")
    return element("div", *drawn, class_="charts")


def _spending(looks: Sequence[Look]) -> str:
    budgets = {look.budget for look in looks if look.budget is not None}
    limit = (f"budget {next(iter(budgets)):g}", next(iter(budgets))) if len(budgets) == 1 else None
    epsilon = [Series(look.name, _points(look, "epsilon")) for look in looks]
    ups = [Series(look.name, _megabytes(look)) for look in looks]
    drawn = [
        figure(lines("Epsilon spent by round", epsilon, limit=limit), "By everything that was released so far."),
        figure(lines("MB by round, up and down", ups), "Payload of the messages of each round."),
    ]
    if not any(drawn):
        return text("p", "Nothing has been sent yet.", class_="caption")
    return element("div", *drawn, class_="charts")


def _alarms(looks: Sequence[Look]) -> str:
    raised = [
        alarm(
            str(row["facts"].get("kind") or "alarm"),
            f"{row['facts'].get('text') or ''}{measure(row['facts'].get('value'), row['facts'].get('bound'))}",
            f"{_subject(row)}{look.name}, round {row['round']}, {clock(row['time'])}",
        )
        for look in looks
        for row in look.told.alarms
    ]
    return "".join(raised) or text("p", "None was raised.", class_="caption")


def _set_aside(looks: Sequence[Look]) -> str:
    rows = [
        (reason, [text("span", str(count)), text("span", look.name)])
        for look in looks
        for reason, count in sorted(look.told.set_aside.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    return table(("reason", "replies", "run"), rows)


def _subject(row: Mapping[str, Any]) -> str:
    return f"{row['facts']['subject']}; " if row["facts"].get("subject") else ""


def _metric_points(look: Look, name: str) -> list[tuple[float, float]]:
    return [(row["round"], row["metrics"][name]) for row in look.rows if name in (row.get("metrics") or {})]


def _points(look: Look, key: str) -> list[tuple[float, float]]:
    return [(row["round"], row[key]) for row in look.rows if row.get(key) is not None]


def _megabytes(look: Look) -> list[tuple[float, float]]:
    sizes = ((row["round"], row.get("bytes_up", 0) + row.get("bytes_down", 0)) for row in look.rows)
    return [(round_, size / 1e6) for round_, size in sizes if size]


def _sent(look: Look) -> int:
    return sum(row.get("bytes_up", 0) + row.get("bytes_down", 0) for row in look.rows)


def _last_metric(look: Look, name: str) -> str:
    points = _metric_points(look, name)
    return f"{points[-1][1]:.4f}" if points else "-"


def _epsilon(look: Look) -> str:
    points = _points(look, "epsilon")
    return f"{points[-1][1]:.3f}" if points else "-"


def _progress(look: Look) -> str:
    last = look.rows[-1]["round"] if look.rows else 0
    return f"{last} of {look.told.planned}" if look.told.planned else str(last)


def _standing(look: Look) -> str:
    return {"none": "no events"}.get(look.told.standing, look.told.standing)
