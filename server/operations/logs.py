"""Logs as JSON, one object a line: time, level, where from, what, and the fields that were given. Never user data."""

import datetime
import json
import logging
import sys
from typing import Any, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST = 2000


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; what was passed as ``extra`` is a field of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage()[:_LONGEST],
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD and key not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)[-_LONGEST:]
        return json.dumps(line, default=str)


def log_as_json(stream: TextIO | None = None, level: int = logging.INFO) -> logging.Handler:
    """Let fedrec's logs of this process go to ``stream`` (stderr) as JSON, once; return the handler that does it."""
    found = [one for one in logging.getLogger("server").handlers if isinstance(one.formatter, JsonFormatter)]
    if found:
        return found[0]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("fedrec", "server"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
    return handler
