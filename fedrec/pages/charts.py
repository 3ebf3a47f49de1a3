"""Charts as inline SVG, without matplotlib: quick enough to be drawn at every look, coloured by the style sheet alone.

What a colour tells, a dash, a place or a label tells too; every chart names itself for readers of screens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from fedrec.pages.rounds import RoundFacts
from fedrec.runs.html import element, text

WIDTH, HEIGHT = 480, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 30, 26
_MOST_ROUNDS = 60
_MOST_POINTS = 400
KINDS = ("taken", "refused", "quarantined", "silent")


@dataclass(frozen=True)
class Series:
    """A named line: ``(x, y)`` in order of x; what is not finite is left out."""

    name: str
    points: Sequence[tuple[float, float]]


def number(value: float) -> str:
    """Return a short number: 4 significant digits, thousands as k and M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if sign == 'k' else size):.3g}{sign}"
    return f"{value:.4g}"


def lines(title: str, series: Sequence[Series], *, limit: tuple[str, float] | None = None) -> str:
    """Return lines over rounds with a legend below; empty where no series has a point."""
    clean = [Series(one.name, _thin([p for p in one.points if all(map(math.isfinite, p))])) for one in series]
    clean = [one for one in clean if one.points]
    if not clean:
        return ""
    xs = [x for one in clean for x, _ in one.points]
    ys = [y for one in clean for _, y in one.points] + ([limit[1]] if limit else [])
    left, right = min(xs), max(max(xs), min(xs) + 1)
    marks = ticks(min(0.0, *ys), max(0.0, *ys) or 1.0)
    low, high = marks[0], marks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - left) / (right - left) * (WIDTH - _LEFT - _RIGHT)
        return across, HEIGHT - _BOTTOM - (y - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [text("text", title, x="0", y="14", class_="title"), *_grid(marks, WIDTH)]
    below = [x for x in ticks(left, right, whole=True) if left <= x <= right]
    parts += [_label(number(x), at(x, low)[0], HEIGHT - 6, "middle") for x in below]
    if limit:
        y = at(left, limit[1])[1]
        parts += [
            _line(_LEFT, y, WIDTH - _RIGHT, y, "limit"),
            _label(limit[0], WIDTH - _RIGHT, y - 4, "end", "limit-label"),
        ]
    for index, one in enumerate(clean):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in one.points))
        if len(one.points) == 1:
            x, y = at(*one.points[0])
            parts.append(element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3", class_=f"line c{index % 6}"))
        parts.append(element("polyline", text("title", one.name), points=path, class_=f"line c{index % 6}"))
    height = HEIGHT
    if len(clean) > 1:
        for index, one in enumerate(clean):
            height = HEIGHT + 18 * (index + 1)
            parts.append(_line(_LEFT, height - 9, _LEFT + 34, height - 9, f"line c{index % 6}"))
            parts.append(_label(f"{one.name[:50]}: {number(one.points[-1][1])}", _LEFT + 42, height - 5, "start"))
    last = "; ".join(f"{one.name} {number(one.points[-1][1])} after round {one.points[-1][0]:g}" for one in clean)
    return _svg(f"{title}: {last}", WIDTH, height + 4, parts)


def timeline(rounds: Sequence[RoundFacts]) -> str:
    """Return what came of each round's nodes, stacked; abandoned ones are crossed, an open one is named."""
    shown = [one for one in rounds if sum(_counts(one))][-_MOST_ROUNDS:]
    if not shown:
        return ""
    wide, marks = 960, ticks(0, max(sum(_counts(one)) for one in shown), whole=True)
    high = marks[-1]
    step = (wide - _LEFT - _RIGHT) / max(len(shown), 12)
    scale = (HEIGHT - _TOP - _BOTTOM) / high
    parts = [text("text", "Nodes by round", x="0", y="14", class_="title"), *_grid(marks, wide)]
    for index, one in enumerate(shown):
        x, y = _LEFT + index * step, float(HEIGHT - _BOTTOM)
        bars = [text("title", _told(one))]
        for kind, count in zip(KINDS, _counts(one), strict=True):
            if not count:
                continue
            y -= count * scale
            bars.append(_rect(x + step * 0.12, y, step * 0.76, count * scale, kind))
        if one.standing == "abandoned":
            bars.append(_label("×", x + step / 2, y - 3, "middle", "cross"))
        parts.append(element("g", *bars))
        if index % max(1, len(shown) // 12) == 0:
            parts.append(_label(str(one.round), x + step / 2, HEIGHT - 6, "middle"))
    for index, (kind, label) in enumerate(zip(KINDS, ("taken", "refused", "set aside", "silent"), strict=True)):
        parts.append(_rect(wide - 380 + index * 95, 5, 10, 10, kind))
        parts.append(_label(label, wide - 365 + index * 95, 14, "start"))
    span = f"rounds {shown[0].round} to {shown[-1].round}"
    told = f"Nodes by round, {span}; × marks abandoned ones. Last: {_told(shown[-1])}"
    return _svg(told, wide, HEIGHT, parts)


def reply_times(rounds: Sequence[RoundFacts]) -> str:
    """Return first, median and last reply of each round in seconds, and when it was closed."""
    shown = [one for one in rounds if one.reply_seconds][-_MOST_ROUNDS:]
    if not shown:
        return ""
    wide, levels = 960, ticks(0, max(max(*one.reply_seconds, one.seconds or 0.0) for one in shown) or 1.0)
    high = levels[-1]
    step = (wide - _LEFT - _RIGHT) / max(len(shown), 12)

    def up(seconds: float) -> float:
        return HEIGHT - _BOTTOM - seconds / high * (HEIGHT - _TOP - _BOTTOM)

    heading = "Seconds until nodes had answered: first to last, dot the median, bar when the round closed"
    parts = [text("text", heading, x="0", y="14", class_="title"), *_grid(levels, wide)]
    for index, one in enumerate(shown):
        x = _LEFT + (index + 0.5) * step
        middle = median(one.reply_seconds)
        marks = [
            text(
                "title",
                f"round {one.round}: half had answered after {middle:.3g} s, all after {max(one.reply_seconds):.3g} s",
            )
        ]
        marks.append(_line(x, up(min(one.reply_seconds)), x, up(max(one.reply_seconds)), "whisker"))
        marks.append(element("circle", cx=f"{x:.1f}", cy=f"{up(middle):.1f}", r="3", class_="dot"))
        if one.seconds is not None:
            marks.append(_line(x - step * 0.3, up(one.seconds), x + step * 0.3, up(one.seconds), "closed"))
        parts.append(element("g", *marks))
        if index % max(1, len(shown) // 12) == 0:
            parts.append(_label(str(one.round), x, HEIGHT - 6, "middle"))
    return _svg(heading, wide, HEIGHT, parts)


def _counts(one: RoundFacts) -> tuple[int, ...]:
    return (one.taken, one.refused, one.quarantined, one.silent)


def _told(one: RoundFacts) -> str:
    taken, refused, aside, silent = _counts(one)
    return f"round {one.round} {one.standing}: {taken} taken, {refused} refused, {aside} set aside, {silent} silent"


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most about ``_MOST_POINTS`` of the points, the last among them."""
    every = max(1, math.ceil(len(points) / _MOST_POINTS))
    return [*points[:-1:every], *points[-1:]]


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return marks from at or below ``low`` to at or above ``high``, 1, 2 or 5 times a power of ten apart.

    There are three to seven. ``whole``: of what is counted, so that none is a fraction.
    """
    rough = max(high - low, 1e-12 * max(abs(low), abs(high), 1e-200)) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, max(last, first + 1) + 1)]


def _grid(marks: Sequence[float], width: float) -> list[str]:
    parts = []
    for mark in marks:
        y = HEIGHT - _BOTTOM - (mark - marks[0]) / (marks[-1] - marks[0]) * (HEIGHT - _TOP - _BOTTOM)
        parts.append(_line(_LEFT, y, width - _RIGHT, y, "rule"))
        parts.append(_label(number(mark), _LEFT - 6, y + 4, "end"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


def _rect(x: float, y: float, width: float, height: float, class_: str) -> str:
    sizes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    return element("rect", **sizes, class_=class_)


def _label(content: str, x: float, y: float, anchor: str, class_: str = "") -> str:
    return text("text", content, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=class_)


def _svg(told: str, width: float, height: float, parts: Sequence[str]) -> str:
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=told)
