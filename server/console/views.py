"""The console's pages, from the operations store's typed reads."""

from collections.abc import Sequence

from fedrec.pages.charts import Series, lines
from fedrec.pages.document import Document, document, live_part
from fedrec.pages.parts import badge, clock, rounds_part, tiles
from fedrec.pages.rounds import RoundFacts
from fedrec.runs.html import element, figure, table, text
from server.console.watched import alarms_part, rollouts_part, set_aside_part
from server.operations.rollout import rollouts_of
from server.operations.store import OperationsStore
from server.operations.views import AlarmView, RoundView, RunView

EVERY_SECONDS = 3.0
_LAST = 60
_MOST_DEVICES = 200
_MOST_SEEN = 10
CONFIRMED = {
    "kill": "All devices stop training within a minute, and all runs end. Recommending goes on.",
    "rollback": "The run goes back. What it has released stays paid for; what it releases again is paid for again.",
    "rollback-model": "An earlier model is published again, as a new version, for all devices.",
}
"""Commands that are asked about once more."""


def form(action: str, label: str, csrf: str, *fields: str, run: str = "", danger: bool = False) -> str:
    """Return a form with one button."""
    hidden = [_hidden("csrf", csrf), _hidden("run", run), _hidden("command", action)]
    button = text("button", label, type="submit", class_="danger" if danger else "")
    return element("form", *hidden, *fields, button, method="post", action="/command")


def login_page(told: str = "") -> Document:
    """Return the page that asks for the token."""
    field = '<input id="token" name="token" type="password" autocomplete="off" required>'
    ask = element("div", text("label", "Token", for_="token"), field)
    login = element("form", ask, text("button", "Log in", type="submit"), method="post", action="/login")
    where = text("p", "The token is in the file that 'fedrec server console' named when it started.")
    return document(
        "fedrec console", text("h1", "fedrec console"), text("p", told, class_="warning") if told else "", where, login
    )


def message_page(heading: str, told: str) -> Document:
    """Return what came of a command, with the way back."""
    return document(heading, text("h1", heading), text("p", told), text("a", "Back to the console", href="/"))


def confirm_page(command: str, run: str, detail: str, csrf: str) -> Document:
    """Ask once more before a command that cannot be taken back."""
    what = {"kill": "Kill switch", "rollback": f"Take {run} back to round {detail}"}.get(command, "Model rollback")
    more = [_hidden("confirm", "yes"), _hidden("detail", detail)]
    yes = form(command, "Yes, do it", csrf, *more, run=run, danger=True)
    return document(
        what,
        text("h1", what),
        text("p", CONFIRMED[command], class_="warning"),
        yes,
        text("a", "No, back to the console", href="/"),
    )


def console_page(store: OperationsStore, chosen: str, csrf: str, *, stopped: bool, back_to: Sequence[int]) -> Document:
    """Return the console with one run in full: ``chosen``, or the latest. ``back_to``: rounds it can be taken to."""
    runs = store.runs()
    run = next((one for one in runs if one.run == chosen), runs[0] if runs else None)
    links = [
        text("a", one.run, href=f"/?run={one.run}", aria_current="page" if run and one.run == run.run else "")
        for one in runs[:20]
    ]
    out = form("logout", "Log out", csrf)
    header = element(
        "header", text("p", "fedrec console", class_="eyebrow"), text("h1", run.run if run else "No run yet")
    )
    parts = [_tiles(store, run, stopped), text("h2", "Alarms"), _alarms(store, csrf)]
    if run is not None:
        shown = [_facts(one) for one in store.rounds(run.run, last=_LAST)]
        parts += [text("h2", "Rounds"), rounds_part(shown), text("h2", "Quality and budget"), _charts(store, run)]
        parts += [text("h2", "Replies set aside"), set_aside_part(store, run.run)]
    parts += [text("h2", "Roll-outs"), rollouts_part(rollouts_of(store))]
    parts += [text("h2", "Devices"), _devices(store), text("h2", "Commands given"), _commands(store)]
    controls = live_part("controls", text("h2", "Commands"), _controls(run, csrf, stopped, back_to))
    return document(
        f"{run.run if run else 'no run'}: fedrec console",
        header,
        element("nav", *links, aria_label="Runs"),
        controls,
        live_part("readings", *parts),
        out,
        live_seconds=EVERY_SECONDS,
    )


def _tiles(store: OperationsStore, run: RunView | None, stopped: bool) -> str:
    entries = {"Kill switch": ("on" if stopped else "off", "no device trains" if stopped else "")}
    if run is not None:
        budget = store.budget(run.run)
        spent = f"{budget.spent[-1][1]:.3f}" if budget.spent else "-"
        limit = f"of {budget.epsilon:g}" if budget.epsilon is not None else "no budget is stated"
        standings = store.standings(run.run)
        abandoned = standings.get("abandoned", 0)
        entries |= {
            "Run": (run.standing, run.why),
            "Rounds": (f"{run.last_round or 0} of {run.planned or '?'}", f"last {clock(run.last_committed)}"),
            "Abandoned": (str(abandoned), f"of {sum(standings.values())} rounds"),
            "Epsilon": (spent, f"{limit}{f', delta {budget.delta:g}' if budget.delta is not None else ''}"),
            "Taken up again": (str(run.resumed), "times, after a break"),
        }
    return tiles(entries)


def _alarms(store: OperationsStore, csrf: str) -> str:
    """Return open alarms, each with a button to say that it was seen to, and who has seen to the last ones."""
    every = store.alarms()
    waiting = [one for one in every if not one.acknowledged_by]
    rows = [
        (one.kind, [text("span", told) for told in (one.run or "server", one.acknowledged_by, when, f"no. {one.id}")])
        for one in every
        if (when := clock(one.acknowledged_at)) and one.acknowledged_by
    ][:_MOST_SEEN]
    seen = element(
        "details",
        text("summary", "Acknowledged"),
        table(("alarm", "of", "by", "when", ""), rows),
    )
    return alarms_part(waiting, lambda one: _acknowledge(one, csrf)) + (seen if rows else "")


def _acknowledge(one: AlarmView, csrf: str) -> str:
    return form("acknowledge", "Acknowledge", csrf, _hidden("detail", str(one.id)), run=one.run)


def _charts(store: OperationsStore, run: RunView) -> str:
    budget, values = store.budget(run.run), store.quality(run.run)
    names = sorted({one.name for one in values})[:6]
    quality = [Series(name, [(one.round, one.value) for one in values if one.name == name]) for name in names]
    limit = (f"budget {budget.epsilon:g}", budget.epsilon) if budget.epsilon is not None else None
    drawn = [
        figure(lines("Quality by round", quality), "Means as released."),
        figure(
            lines("Epsilon spent by round", [Series("epsilon", budget.spent)], limit=limit), "The budget burns down."
        ),
    ]
    return element("div", *drawn, class_="charts") if any(drawn) else text("p", "Nothing yet.", class_="caption")


def _devices(store: OperationsStore) -> str:
    devices = store.devices()
    if not devices:
        return text("p", "No device is enrolled.", class_="caption")
    states = sorted({one.state for one in devices})
    counted = tiles({state: (str(sum(one.state == state for one in devices)), "devices") for state in states})
    columns = ("device", "", "owner", "last heard", "taken", "refused", "set aside", "silent", "spent for nothing")
    rows = [
        (
            one.key,
            [
                badge(one.state),
                *(
                    text("span", value)
                    for value in (
                        one.owner or "-",
                        clock(one.last_seen),
                        str(one.taken),
                        str(one.refused),
                        str(one.quarantined),
                        str(one.silent),
                        str(one.spent_in_abandoned),
                    )
                ),
            ],
        )
        for one in devices[:_MOST_DEVICES]
    ]
    more = len(devices) - _MOST_DEVICES
    return counted + table(columns, rows) + (text("p", f"and {more} more") if more > 0 else "")


def _commands(store: OperationsStore) -> str:
    rows = [
        (clock(one.time), [text("span", value) for value in (one.who, one.what, one.run or "-", one.outcome)])
        for one in store.commands(most=20)
    ]
    return table(("when", "who", "what", "run", "outcome"), rows) if rows else text("p", "None.", class_="caption")


def _controls(run: RunView | None, csrf: str, stopped: bool, back_to: Sequence[int]) -> str:
    kill = (
        form("unkill", "Let devices train again", csrf)
        if stopped
        else form("kill", "Stop all training", csrf, danger=True)
    )
    boxes = [_box("Kill switch", "On all devices, within a minute.", kill)]
    if run is not None:
        both = form("pause", "Pause", csrf, run=run.run) + form("resume", "Resume", csrf, run=run.run)
        if run.standing != "ended":
            boxes.append(_box("Pause", f"Before the next round of {run.run}.", both))
        choices = element(
            "select", *(text("option", str(number)) for number in back_to), name="detail", aria_label="Round"
        )
        back = (
            form("rollback", "Take back", csrf, choices, run=run.run)
            if back_to
            else text("p", "No earlier round is kept.")
        )
        boxes.append(_box("Roll back the run", "To the model of an earlier round.", back))
    boxes.append(
        _box("Roll back the model", "What devices serve.", form("rollback-model", "Publish the one before", csrf))
    )
    return element("div", *boxes, class_="controls")


def _box(heading: str, told: str, *content: str) -> str:
    return element("div", text("h3", heading), text("p", told), *content)


def _hidden(name: str, value: str) -> str:
    return element("input", type="hidden", name=name, value=value).removesuffix("</input>")


def _facts(one: RoundView) -> RoundFacts:
    names = (
        "round",
        "standing",
        "asked",
        "users",
        "taken",
        "refused",
        "quarantined",
        "silent",
        "seconds",
        "epsilon",
        "bytes_up",
        "bytes_down",
        "why",
        "spent_on_devices",
    )
    times = tuple(reply.seconds for reply in one.replies if reply.seconds is not None)
    return RoundFacts(**{name: getattr(one, name) for name in names}, reply_seconds=times)
