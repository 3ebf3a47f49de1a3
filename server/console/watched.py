"""The console's sections on what the server watches: alarms with their figures, roll-outs, replies set aside."""

from collections.abc import Callable, Sequence

from fedrec.aggregation.alarms import measure
from fedrec.pages.parts import alarm, badge, clock
from fedrec.runs.html import table, text
from server.operations.rollout import RolloutView
from server.operations.store import OperationsStore
from server.operations.views import AlarmView

MOST_ALARMS = 20
_NODES = 5


def _no_button(one: AlarmView) -> str:
    return ""


def alarms_part(alarms: Sequence[AlarmView], more: Callable[[AlarmView], str] = _no_button) -> str:
    """Return alarms, each with what it is about, its value and the bound it passed; ``more``: ready HTML below it."""
    found = []
    for one in alarms[:MOST_ALARMS]:
        where = f"{one.run or 'server'}, round {one.round}, {clock(one.time)}"
        told = f"{one.text}{measure(one.value, one.bound)}"
        detail = f"{one.subject}; {where}" if one.subject else where
        button = more(one)
        found.append(alarm(one.kind, told, detail, *([button] if button else []), seen=bool(one.acknowledged_by)))
    if len(alarms) > MOST_ALARMS:
        found.append(text("p", f"and {len(alarms) - MOST_ALARMS} earlier ones", class_="caption"))
    return "".join(found) or text("p", "None is open.", class_="caption")


def rollouts_part(rollouts: Sequence[RolloutView]) -> str:
    """Return models on their way to devices: stage, standing, and why one was taken back."""
    if not rollouts:
        return text("p", "No model was rolled out in stages.", class_="caption")
    rows = [
        (
            f"model {one.version}",
            [
                badge(one.standing),
                *(
                    text("span", value)
                    for value in (
                        f"{one.permille / 10:g} %",
                        f"model {one.base}" if one.base else "-",
                        clock(one.since),
                        one.why or "-",
                    )
                ),
            ],
        )
        for one in rollouts[:10]
    ]
    return table(("version", "", "devices", "others have", "since", "why"), rows)


def set_aside_part(store: OperationsStore, run: str) -> str:
    """Return why replies of a run were set aside."""
    found = store.set_aside(run)
    if not found:
        return text("p", "No reply was set aside.", class_="caption")
    rows = []
    for one in found:
        named = ", ".join(one.nodes[:_NODES]) + (f" and {len(one.nodes) - _NODES} more" if one.nodes[_NODES:] else "")
        cells = (str(one.count), str(one.last_round), named or "-")
        rows.append((one.reason, [text("span", cell) for cell in cells]))
    return table(("reason", "replies", "last in round", "in answer to tasks of"), rows)
