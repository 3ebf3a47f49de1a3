"""Tables of the operations store, the same in SQLite and PostgreSQL. ``events`` is what is told; the rest follows."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

SCHEMA = 2
"""1 did not keep apart what an alarm is about."""

metadata = MetaData()

_KEY = String(200)

schema = Table("schema", metadata, Column("version", Integer, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("run", _KEY, primary_key=True),
    Column("run_id", String(200), nullable=False, default=""),
    Column("began", Float(53), nullable=False, default=0.0),
    Column("planned", Integer),
    Column("population", BigInteger),
    Column("nodes", Integer),
    Column("standing", String(20), nullable=False, default="running"),
    Column("why", Text, nullable=False, default=""),
    Column("last_round", Integer),
    Column("last_committed", Float(53)),
    Column("resumed", Integer, nullable=False, default=0),
    Column("epsilon", Float(53)),
    Column("delta", Float(53)),
    Column("sequence", BigInteger, nullable=False, default=0),
    Column("place", BigInteger, nullable=False, default=0),
)
"""``sequence`` and ``place``: the last line of ``events.jsonl`` that is in here, and the byte after it."""

events = Table(
    "events",
    metadata,
    Column("run", _KEY, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Float(53), nullable=False),
    Column("round", Integer, nullable=False),
    Column("what", String(40), nullable=False),
    Column("facts", Text, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("run", _KEY, primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("standing", String(20), nullable=False, default="open"),
    Column("opened", Float(53)),
    Column("closed", Float(53)),
    Column("attempts", Integer, nullable=False, default=0),
    Column("asked", Integer),
    Column("users", BigInteger),
    Column("strangers", Integer, nullable=False, default=0),
    Column("seconds", Float(53)),
    Column("epsilon", Float(53)),
    Column("bytes_up", BigInteger),
    Column("bytes_down", BigInteger),
    Column("why", Text, nullable=False, default=""),
    Column("spent_on_devices", BigInteger, nullable=False, default=0),
)

replies = Table(
    "replies",
    metadata,
    Column("run", _KEY, primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("node", _KEY, primary_key=True),
    Column("outcome", String(20), nullable=False),
    Column("reason", String(200), nullable=False, default=""),
    Column("time", Float(53), nullable=False),
    Column("seconds", Float(53)),
    Column("bytes", BigInteger),
    Column("abandoned", Integer, nullable=False, default=0),
    Index("replies_by_node", "node"),
)
"""``abandoned``: rounds of this number that the node had answered when they were abandoned."""

devices = Table(
    "devices",
    metadata,
    Column("key", _KEY, primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("state", String(20), nullable=False),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("source", String(250), nullable=False, unique=True),
    Column("run", _KEY, nullable=False),
    Column("time", Float(53), nullable=False),
    Column("round", Integer, nullable=False),
    Column("kind", String(60), nullable=False),
    Column("text", Text, nullable=False),
    Column("subject", Text, nullable=False, server_default=""),
    Column("value", Float(53)),
    Column("bound", Float(53)),
    Column("acknowledged_by", String(200), nullable=False, default=""),
    Column("acknowledged_at", Float(53)),
)

quality = Table(
    "quality",
    metadata,
    Column("run", _KEY, primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("name", String(100), primary_key=True),
    Column("time", Float(53), nullable=False),
    Column("value", Float(53), nullable=False),
)

commands = Table(
    "commands",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time", Float(53), nullable=False),
    Column("who", String(200), nullable=False),
    Column("what", String(40), nullable=False),
    Column("run", _KEY, nullable=False),
    Column("detail", Text, nullable=False),
    Column("outcome", Text, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("base", BigInteger, nullable=False),
    Column("permille", Integer, nullable=False),
    Column("standing", String(20), nullable=False),
    Column("since", Float(53), nullable=False),
    Column("why", Text, nullable=False, default=""),
)

figures = Table(
    "figures",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("version", BigInteger, nullable=False),
    Column("time", Float(53), nullable=False),
    Column("devices", Integer, nullable=False),
    Column("latency_ms", Float(53)),
    Column("quality", Float(53)),
    Column("odd", String(20), nullable=False, default=""),
)
"""``odd``: the figure that was no number, which databases do not keep alike."""
