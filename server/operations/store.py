"""The server's operational state: what happened in its runs, as typed reads. Filled by ``ingest`` and by commands.

Nothing of a round rests on it: what is in here can be had again from the runs' ``events.jsonl``. Who gave which command
is in here alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Engine, Row, case, func, select, update
from sqlalchemy.engine import URL

from fedrec.flower.events import What
from server.door.home import ServerHome, ServerSettings
from server.operations import tables
from server.operations.database import database_url, open_engine, speaking
from server.operations.ingest import ingest
from server.operations.views import (
    AlarmView,
    BudgetView,
    CommandView,
    DeviceView,
    EventView,
    QualityView,
    ReplyView,
    RoundView,
    RunView,
    SetAsideView,
)

MOST = 1000
"""Events, alarms or commands that one read returns."""


class OperationsStore:
    """Reads and writes of the operations database. Methods raise ``OperationsError`` if it does not answer.

    Any number of processes may have it open; each method is one transaction.
    """

    def __init__(self, engine: Engine, url: URL) -> None:
        self.engine = engine
        self.url = url

    @classmethod
    def open(cls, url: str, *, password_file: Path | None = None) -> Self:
        """Open a database, made where there is none; see ``database_url`` for ``url`` and what it raises."""
        place = database_url(url, password_file=password_file)
        return cls(open_engine(place), place)

    @classmethod
    def of(cls, home: ServerHome, settings: ServerSettings) -> Self:
        """Open the database that a server's settings name."""
        named = settings.operations_password_file
        url = settings.operations if "://" in settings.operations else str(home.path / settings.operations)
        return cls.open(url, password_file=home.path / named if named else None)

    def close(self) -> None:
        """End its connections."""
        self.engine.dispose()

    def ingest(self, folder: Path) -> int:
        """Take in what is new in a run folder's ``events.jsonl``; return how many events that were."""
        with speaking(self.url), self.engine.begin() as connection:
            return ingest(connection, folder)

    # --- reads ----------------------------------------------------------------------------------------------------
    def runs(self) -> list[RunView]:
        """Return all runs, the latest first."""
        columns = [tables.runs.c[name] for name in RunView.__dataclass_fields__]
        return [RunView(**row._mapping) for row in self._rows(select(*columns).order_by(tables.runs.c.began.desc()))]

    def run(self, run: str) -> RunView | None:
        """Return one run, None if no event of it is known."""
        return next((found for found in self.runs() if found.run == run), None)

    def rounds(self, run: str, *, last: int | None = None) -> list[RoundView]:
        """Return a run's rounds in order, or its ``last`` ones, each with what came of its nodes."""
        query = select(tables.rounds).where(tables.rounds.c.run == run).order_by(tables.rounds.c.round.desc())
        rows = self._rows(query if last is None else query.limit(last))[::-1]
        if not rows:
            return []
        replies = select(tables.replies).where(
            tables.replies.c.run == run, tables.replies.c.round >= rows[0]._mapping["round"]
        )
        by_round: dict[int, list[ReplyView]] = {}
        for row in self._rows(replies):
            by_round.setdefault(row._mapping["round"], []).append(_reply(row))
        return [_round(row, by_round.get(row._mapping["round"], [])) for row in rows]

    def standings(self, run: str) -> dict[str, int]:
        """Return how many of a run's rounds are ``open``, ``aggregated``, ``committed`` and ``abandoned``."""
        column = tables.rounds.c.standing
        query = select(column, func.count().label("number")).where(tables.rounds.c.run == run).group_by(column)
        return {row._mapping["standing"]: row._mapping["number"] for row in self._rows(query)}

    def events(self, run: str, after: int = 0, *, most: int = MOST) -> list[EventView]:
        """Return a run's events whose sequence number is above ``after``, in order, at most ``most``."""
        table = tables.events
        query = select(table).where(table.c.run == run, table.c.sequence > after).order_by(table.c.sequence).limit(most)
        return [EventView(**{**row._mapping, "facts": json.loads(row._mapping["facts"])}) for row in self._rows(query)]

    def devices(self) -> list[DeviceView]:
        """Return all devices that are enrolled or were heard of, by name."""
        known = {row._mapping["key"]: row._mapping for row in self._rows(select(tables.devices))}
        heard = {row._mapping["node"]: row._mapping for row in self._rows(_HEARD)}
        reasons = {row._mapping["node"]: row._mapping["reason"] for row in self._rows(_REASONS)}
        names = sorted(known.keys() | heard.keys())
        return [_device(key, known.get(key), heard.get(key), reasons.get(key, "")) for key in names]

    def alarms(self, *, open_only: bool = False, run: str | None = None) -> list[AlarmView]:
        """Return alarms, the latest first, at most ``MOST``; ``open_only`` leaves out those that were acknowledged."""
        table = tables.alarms
        query = select(*(table.c[name] for name in AlarmView.__dataclass_fields__)).order_by(table.c.id.desc())
        if open_only:
            query = query.where(table.c.acknowledged_by == "")
        if run is not None:
            query = query.where(table.c.run == run)
        return [AlarmView(**row._mapping) for row in self._rows(query.limit(MOST))]

    def alarm_counts(self) -> dict[str, int]:
        """Return how many alarms were ever raised, by kind."""
        column = tables.alarms.c.kind
        query = select(column, func.count().label("number")).group_by(column).order_by(column)
        return {row._mapping["kind"]: row._mapping["number"] for row in self._rows(query)}

    def set_aside(self, run: str) -> list[SetAsideView]:
        """Return why replies of a run were set aside, the most frequent reason first; of the last ``MOST`` of them."""
        table = tables.events
        mine = (table.c.run == run, table.c.what == What.REPLY_QUARANTINED.value)
        query = select(table.c.round, table.c.facts).where(*mine).order_by(table.c.sequence.desc()).limit(MOST)
        by_reason: dict[str, list[tuple[int, str]]] = {}
        for row in self._rows(query):
            facts = json.loads(row._mapping["facts"])
            found = (row._mapping["round"], str(facts.get("node") or ""))
            by_reason.setdefault(str(facts.get("reason") or "unknown"), []).append(found)
        views = [
            SetAsideView(
                reason=reason,
                count=len(found),
                last_round=max(number for number, _ in found),
                nodes=tuple(sorted({node for _, node in found if node})),
            )
            for reason, found in by_reason.items()
        ]
        return sorted(views, key=lambda view: (-view.count, view.reason))

    def budget(self, run: str) -> BudgetView:
        """Return how a run's budget burns down."""
        table = tables.rounds
        query = select(table.c.round, table.c.epsilon).where(
            table.c.run == run, table.c.standing == "committed", table.c.epsilon.is_not(None)
        )
        spent = tuple((row._mapping["round"], row._mapping["epsilon"]) for row in self._rows(query.order_by("round")))
        limits = self._rows(select(tables.runs.c.epsilon, tables.runs.c.delta).where(tables.runs.c.run == run))
        epsilon, delta = (limits[0]._mapping["epsilon"], limits[0]._mapping["delta"]) if limits else (None, None)
        return BudgetView(run=run, spent=spent, epsilon=epsilon, delta=delta)

    def quality(self, run: str) -> list[QualityView]:
        """Return a run's measured means in order of rounds."""
        table = tables.quality
        return [
            QualityView(**row._mapping)
            for row in self._rows(select(table).where(table.c.run == run).order_by(table.c.round, table.c.name))
        ]

    def commands(self, *, most: int = 100) -> list[CommandView]:
        """Return the commands that were given, the latest first."""
        query = select(tables.commands).order_by(tables.commands.c.id.desc()).limit(most)
        return [CommandView(**row._mapping) for row in self._rows(query)]

    # --- writes ---------------------------------------------------------------------------------------------------
    def record_command(
        self, *, time: float, who: str, what: str, run: str = "", detail: str = "", outcome: str = "done"
    ) -> None:
        """Write down a command: who gave it, when, and what came of it."""
        row = {"time": time, "who": who, "what": what, "run": run, "detail": detail, "outcome": outcome}
        with speaking(self.url), self.engine.begin() as connection:
            connection.execute(tables.commands.insert().values(row))

    def raise_alarm(
        self,
        *,
        time: float,
        kind: str,
        text: str,
        run: str = "",
        round: int = 0,
        value: float | None = None,
        bound: float | None = None,
    ) -> None:
        """Raise an alarm of the server's own. The same one again, while it is not acknowledged, is not repeated."""
        table = tables.alarms
        with speaking(self.url), self.engine.begin() as connection:
            same = (table.c.kind == kind, table.c.run == run, table.c.text == text, table.c.acknowledged_by == "")
            if connection.execute(select(table.c.id).where(*same)).first() is None:
                number = connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
                row = {"run": run, "time": time, "round": round, "kind": kind, "text": text}
                connection.execute(table.insert().values(**row, value=value, bound=bound, source=f"server/{number}"))

    def acknowledge(self, alarm: int, *, who: str, time: float) -> bool:
        """Note who has seen to an alarm; return False if there is none of this number that is still open."""
        table = tables.alarms
        with speaking(self.url), self.engine.begin() as connection:
            mine = update(table).where(table.c.id == alarm, table.c.acknowledged_by == "")
            return connection.execute(mine.values(acknowledged_by=who, acknowledged_at=time)).rowcount == 1

    def set_devices(self, states: Mapping[str, tuple[str, str]]) -> None:
        """Put down which devices are enrolled: owner and state by key. Those that are not named are forgotten."""
        rows = [{"key": key, "owner": owner, "state": state} for key, (owner, state) in sorted(states.items())]
        with speaking(self.url), self.engine.begin() as connection:
            connection.execute(tables.devices.delete())
            if rows:
                connection.execute(tables.devices.insert(), rows)

    def set_budget(self, run: str, *, epsilon: float | None, delta: float | None) -> None:
        """Put down what a run may spend, by its scenario."""
        table = tables.runs
        with speaking(self.url), self.engine.begin() as connection:
            connection.execute(update(table).where(table.c.run == run).values(epsilon=epsilon, delta=delta))

    def _rows(self, query: Any) -> list[Row[Any]]:
        with speaking(self.url), self.engine.connect() as connection:
            return list(connection.execute(query))


def _reply(row: Row[Any]) -> ReplyView:
    return ReplyView(**{name: row._mapping[name] for name in ReplyView.__dataclass_fields__})


def _round(row: Row[Any], replies: list[ReplyView]) -> RoundView:
    table: dict[str, Any] = dict(row._mapping)
    strangers = table.pop("strangers")
    counts: dict[str, Any] = {
        outcome: sum(reply.outcome == outcome for reply in replies) for outcome in ("taken", "refused", "silent")
    }
    quarantined = strangers + sum(reply.outcome == "quarantined" for reply in replies)
    ordered = sorted(replies, key=lambda reply: (reply.seconds is None, reply.seconds or 0.0, reply.node))
    return RoundView(**table, **counts, quarantined=quarantined, replies=tuple(ordered))


def _counted(outcome: str) -> ColumnElement[int]:
    return func.sum(case((tables.replies.c.outcome == outcome, 1), else_=0)).label(outcome)


_OUTCOMES = ("taken", "refused", "quarantined", "silent")
_HEARD = select(
    tables.replies.c.node,
    *map(_counted, _OUTCOMES),
    func.max(case((tables.replies.c.outcome != "silent", tables.replies.c.time))).label("last_seen"),
    func.sum(tables.replies.c.abandoned).label("spent_in_abandoned"),
).group_by(tables.replies.c.node)
"""What came of each node's tasks, counted by the database: a fleet's replies are many, its devices few."""
_REASONS = (
    select(tables.replies.c.node, tables.replies.c.reason)
    .where(tables.replies.c.reason != "")
    .order_by(tables.replies.c.time)
)
"""Why nodes were refused or set aside, the last one last."""


def _device(key: str, known: Any, heard: Any, reason: str) -> DeviceView:
    """Return one device; ``heard``: its counts, None for one that was never asked."""
    counts = {name: int(heard[name]) if heard else 0 for name in (*_OUTCOMES, "spent_in_abandoned")}
    return DeviceView(
        key=key,
        owner=known["owner"] if known else "",
        state=known["state"] if known else "unknown",
        last_seen=heard["last_seen"] if heard else None,
        last_reason=reason,
        **counts,
    )
