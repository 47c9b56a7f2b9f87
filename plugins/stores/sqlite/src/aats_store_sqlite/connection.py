"""Opens the database file: its pragmas, its version, and the functions that compiled filters call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from aats_core.errors import StateError, StateTooNew, StoreUnavailable
from aats_store_sqlite import graph, keyvalue, locks
from aats_store_sqlite.bindings import register
from aats_store_sqlite.failures import translated

APPLICATION_ID = 0x41415453
VERSION = 1
"""The version of the layout of tables, kept in the file."""

CHECKPOINT_PAGES = 4000
_JOURNAL_BYTES = 64 * 1024 * 1024

_LAYOUT = f"""
CREATE TABLE aats_collections (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    schema TEXT NOT NULL,
    UNIQUE (namespace, name)
);
{keyvalue.LAYOUT}
{locks.LAYOUT}
{graph.LAYOUT}
CREATE TABLE aats_probe (number INTEGER PRIMARY KEY, time REAL NOT NULL);
"""


def open_writer(path: Path, timeout: float) -> apsw.Connection:
    """Open the file for writing, make it where there is none, and check that this version can use it.

    Raises `StateTooNew` where a newer version wrote it, `StateError` where an older one did, and `StoreUnavailable`
    where it cannot be used.
    """
    return _open(path, timeout, _prepare_file)


def open_reader(path: Path, timeout: float) -> apsw.Connection:
    """Open the file, which a writer has made, for reading only."""
    return _open(path, timeout, lambda connection, _: connection.execute("PRAGMA query_only = ON"))


def open_other(path: Path, timeout: float) -> apsw.Connection:
    """Open the file, which a writer has made, for what else there is to do."""
    return _open(path, timeout, _prepare_writing)


def _open(path: Path, timeout: float, prepare: Callable[[apsw.Connection, Path], object]) -> apsw.Connection:
    with translated(path):
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(int(timeout * 1000))
            connection.execute("PRAGMA temp_store = MEMORY")
            register(connection)
            prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare_file(connection: apsw.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    _prepare_writing(connection, path)
    _lay_out(connection, path)


def _prepare_writing(connection: apsw.Connection, _: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")


def _lay_out(connection: apsw.Connection, path: Path) -> None:
    connection.execute("BEGIN")  # what fails before the commit is rolled back with the connection, which is closed then
    if not _is_laid_out(connection, path):
        connection.execute(_LAYOUT)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", VERSION)
    connection.execute("COMMIT")


def _is_laid_out(connection: apsw.Connection, path: Path) -> bool:
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StateTooNew(
                f"{path}: was written by a newer version of AATS (layout {version}, this one knows {VERSION}); "
                "run that version, or restore a backup"
            )
        if version < VERSION:
            raise StateError(
                f"{path}: was written by an older version of AATS (layout {version}, this one needs {VERSION}) and "
                "cannot be used as it is; run that version, or name another path to begin anew"
            )
        return True
    if application or version or connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise StoreUnavailable(f"{path}: is a database of another program; name another path")
    return False
