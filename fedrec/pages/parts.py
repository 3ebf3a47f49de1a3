"""Parts that a dashboard and a console share: tiles, badges, alarms, rounds as charts and as a table."""

import datetime
from collections.abc import Mapping, Sequence

from fedrec.pages.charts import reply_times, timeline
from fedrec.pages.rounds import RoundFacts
from fedrec.runs.html import element, figure, table, text, with_detail
from fedrec.runs.labels import human_bytes

TONES = {
    "running": "good",
    "committed": "good",
    "completed": "good",
    "online": "good",
    "done": "good",
    "going": "wait",
    "taken-back": "bad",
    "paused": "wait",
    "open": "wait",
    "aggregated": "wait",
    "abandoned": "bad",
    "revoked": "bad",
    "failed": "bad",
}
_ROWS = 20


def tiles(entries: Mapping[str, tuple[str, str]]) -> str:
    """Return figures by name, each with a line of detail below."""
    made = [
        element("div", text("dt", name), element("dd", with_detail(*value)), class_="tile")
        for name, value in entries.items()
    ]
    return element("dl", *made, class_="tiles")


def badge(word: str) -> str:
    """Return a word in a frame whose colour repeats what it says."""
    return text("span", word, class_=f"badge {TONES.get(word, '')}".strip())


def clock(seconds: float | None) -> str:
    """Return a time as people of all zones can read it, or a dash."""
    if seconds is None:
        return "-"
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def alarm(kind: str, told: str, detail: str, *more: str, seen: bool = False) -> str:
    """Return one alarm; ``more`` is ready HTML below it, as a button."""
    heading = element("p", text("strong", kind), ": ", text("span", told))
    return element("div", heading, text("small", detail), *more, class_="alarm seen" if seen else "alarm")


def rounds_part(rounds: Sequence[RoundFacts]) -> str:
    """Return rounds as a time line with stragglers and drop-outs, reply times, and the last ones as a table."""
    if not rounds:
        return text("p", "No round has been opened yet.", class_="caption")
    drawn = [
        element("div", figure(drawing, caption), class_="scroll wide")
        for drawing, caption in (
            (
                timeline(rounds),
                "What came of the nodes that were asked. Silent ones had not answered when the round closed.",
            ),
            (reply_times(rounds), "How long nodes took. The higher a line reaches, the later its stragglers."),
        )
        if drawing
    ]
    return "".join(drawn) + _round_table(rounds[-_ROWS:][::-1])


def _round_table(rounds: Sequence[RoundFacts]) -> str:
    columns = ("round", "", "asked", "taken", "refused", "set aside", "silent", "seconds", "epsilon", "up", "down")
    return table(columns, [(str(one.round), _cells(one)) for one in rounds])


def _cells(one: RoundFacts) -> list[str]:
    why = one.why
    if one.spent_on_devices:
        why += f"; {one.spent_on_devices} users' devices have spent budget for it"
    standing = badge(one.standing) + (text("small", why.removeprefix("; ")) if why else "")
    counts = [one.taken, one.refused, one.quarantined, one.silent]
    sizes = [human_bytes(size) if size is not None else "-" for size in (one.bytes_up, one.bytes_down)]
    return [
        standing,
        "-" if one.asked is None else str(one.asked),
        *map(str, counts),
        "-" if one.seconds is None else f"{one.seconds:.3g}",
        "-" if one.epsilon is None else f"{one.epsilon:.3f}",
        *sizes,
    ]
