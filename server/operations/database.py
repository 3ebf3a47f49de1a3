"""Opening the operations database: a SQLite file of the server's folder, or a PostgreSQL by URL.

A password is never in a URL that fedrec is given: it comes from a file or from the environment, and no message or log
shows it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, make_url, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from fedrec.errors import ConfigError, FedRecError
from server.operations.tables import SCHEMA, metadata, schema

PASSWORD = "FEDREC_OPERATIONS_PASSWORD"
SECONDS = 10
"""Longest wait for a connection, or for another writer."""
_MIGRATIONS = {1: "ALTER TABLE alarms ADD COLUMN subject TEXT NOT NULL DEFAULT ''"}
"""What brings a database from a schema to the one after it."""
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg"}


class OperationsError(FedRecError):
    """The operations database does not answer, or is of another version. Rounds go on without it."""


def database_url(url: str, *, password_file: Path | None = None, environment: Mapping[str, str] = os.environ) -> URL:
    """Return where the database is: ``sqlite:///PATH``, a plain path, or ``postgresql://USER@HOST/NAME``.

    Raises ``ConfigError`` for a password in ``url``, another kind of database, or a password file that others may read.
    """
    if url == "" or url.startswith(":"):
        raise ConfigError(f"operations = {url!r} would be in memory: name a file, or postgresql://USER@HOST/NAME")
    if "://" not in url:
        return URL.create("sqlite", database=url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("operations is no database URL: postgresql://USER@HOST/NAME, or a file's name") from error
    if parsed.password is not None:
        raise ConfigError(
            f"operations holds a password, which logs and backups would show: write it into a file of mode 0600 and "
            f"name that as operations_password_file, or set {PASSWORD}"
        )
    if parsed.drivername == "sqlite":
        return parsed
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ConfigError(f"operations is of {parsed.drivername!r}: SQLite and PostgreSQL are supported")
    password = _password(password_file, environment)
    return parsed.set(drivername=driver, password=password) if password else parsed.set(drivername=driver)


def _password(path: Path | None, environment: Mapping[str, str]) -> str | None:
    if path is None:
        return environment.get(PASSWORD)
    try:
        mode, text = path.stat().st_mode, path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"operations_password_file {path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"operations_password_file {path} may be read by others: chmod 600 {path}")
    return text


def open_engine(url: URL) -> Engine:
    """Return a connected engine whose tables are there, made where they are not.

    Raises ``OperationsError`` if the database does not answer or a newer fedrec made it, ``ConfigError`` if the driver
    is not installed.
    """
    arguments: dict[str, Any] = {"timeout": SECONDS} if url.drivername == "sqlite" else {"connect_timeout": SECONDS}
    if url.drivername == "sqlite":
        _make_private(url)
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=arguments, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise ConfigError("PostgreSQL needs psycopg: pip install 'fedrec[postgres]'") from error
    if url.drivername == "sqlite":
        event.listen(engine, "connect", _pragmas)
    with speaking(url):
        metadata.create_all(engine)
        with engine.begin() as connection:
            version = connection.execute(select(schema.c.version)).scalar()
            if version is None:
                connection.execute(insert(schema).values(version=SCHEMA))
        if version in _MIGRATIONS:
            version = _migrate(engine, version)
    if version not in (None, SCHEMA):
        engine.dispose()
        raise OperationsError(f"{shown(url)} has schema {version}, this fedrec reads {SCHEMA}: use the newer fedrec")
    return engine


def _migrate(engine: Engine, version: int) -> int:
    """Bring a database from one schema to the next ones, once, whoever else opens it now; return the last one."""
    while version in _MIGRATIONS:
        with engine.begin() as connection:
            mine = update(schema).where(schema.c.version == version).values(version=version + 1)
            if connection.execute(mine).rowcount:  # who comes second waits here, and finds it done
                connection.execute(text(_MIGRATIONS[version]))
        version += 1
    return version


def shown(url: URL) -> str:
    """Return a URL as it may be printed: without password."""
    return url.render_as_string(hide_password=True)


@contextmanager
def speaking(url: URL) -> Iterator[None]:
    """Turn what goes wrong with the database into ``OperationsError``; parameters and password are not in it."""
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0][:200]
        raise OperationsError(f"the operations database {shown(url)} does not work: {said}") from error


def upsert(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Insert a row, or set ``values`` in the one that has ``key``."""
    dialect_insert = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = dialect_insert(table).values({**key, **values})
    elements = [table.c[name] for name in key]
    if values:
        connection.execute(statement.on_conflict_do_update(index_elements=elements, set_=dict(values)))
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=elements))


def _make_private(url: URL) -> None:
    """Make the file for its owner alone before SQLite does; what SQLite lays beside it has the same mode."""
    if not url.database or url.database == ":memory:":
        return
    path = Path(url.database)
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise OperationsError(f"{path} cannot be made: {error.strerror}") from error


def _pragmas(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
