"""How commands speak: results on stdout as tables or JSON, progress and notes on stderr. Knows no domain objects.

Standard output carries only the result, so that ``fedrec ... --json | jq`` works while a person watches the bar.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

LIVE_FIGURES = ("ndcg@10", "hr@10", "epsilon")
"""Keys of a round's row, or of its ``metrics``, that the bar shows, where they are there."""


def write_json(value: Any) -> None:
    """Print a value as indented JSON on stdout; NaN, which JSON does not have, is refused."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_line(text: str = "") -> None:
    """Print one line on stdout as it stands: paths are not wrapped, brackets are not markup."""
    sys.stdout.write(text + "\n")


def write_note(text: str) -> None:
    """Print one line for a person on stderr."""
    print(text, file=sys.stderr)


def write_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout; the first column is left-aligned, the others right-aligned."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def with_interval(value: float, interval: Sequence[float] | None) -> str:
    """Return ``0.148 [0.126, 0.171]``, or the value alone where there is no interval."""
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


class RoundBar(AbstractContextManager["RoundBar"]):
    """A progress bar over rounds, one line a phase, on stderr; satisfies ``simulations.progress.Progress``.

    Nothing is drawn before the first phase, so that a run that is refused leaves its error alone on stderr.
    """

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True, highlight=False),
        )
        self._task: TaskID | None = None
        self._title = ""
        self._noted: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._bar.stop()

    def entitle(self, title: str) -> None:
        """Put ``title`` before the phases that follow, where one bar shows several runs."""
        self._title = f"{title}: "

    def phase(self, name: str, total_rounds: int) -> None:
        """Begin a new line, full at ``total_rounds``; 0 draws a bar of unknown length."""
        self._finish()
        self._bar.start()
        self._task = self._bar.add_task(self._title + name, total=total_rounds or None, figures="")

    def round(self, row: Mapping[str, Any]) -> None:
        """Advance the line to the row's round and show its live figures; round 0 comes before the first."""
        if self._task is None:
            return
        figures = {**row, **(row.get("metrics") or {})}
        shown = [f"{key} {figures[key]:.3f}" for key in LIVE_FIGURES if isinstance(figures.get(key), float)]
        self._bar.update(self._task, completed=int(row["round"]))
        if shown:
            self._bar.update(self._task, figures="  ".join(shown))

    def note(self, text: str) -> None:
        """Print one line above the bars, once, however many runs say it."""
        if text in self._noted:
            return
        self._noted.add(text)
        self._bar.console.print(text, markup=False, soft_wrap=True)

    def _finish(self) -> None:
        """Stop the clock of the current line, which may end before its last round, or have had no known length."""
        if self._task is None:
            return
        if self._bar.tasks[self._task].total is None:
            self._bar.update(self._task, total=1, completed=1)
        self._bar.stop_task(self._task)
