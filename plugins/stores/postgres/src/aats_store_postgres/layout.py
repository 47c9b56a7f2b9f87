"""The tables that every database of the store has, and their version."""

from __future__ import annotations

from aats_core.errors import StateTooNew
from aats_store_postgres import graph, keyvalue, locks
from aats_store_postgres.session import Session

VERSION = 1
"""The version of the layout of tables, kept in the database."""

LOCK = 0x41415453
"""The advisory lock that whoever makes or changes tables holds, with a number for the schema."""

_LAYOUT = """
CREATE SCHEMA IF NOT EXISTS {space};
CREATE TABLE IF NOT EXISTS {space}.layout (version integer NOT NULL);
CREATE TABLE IF NOT EXISTS {space}.collections (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    generation integer NOT NULL DEFAULT 1,
    schema text NOT NULL,
    UNIQUE (namespace, name)
);
"""


def locking(space: str) -> str:
    """Return the statement that takes the lock on the tables of a schema until the end of the transaction."""
    return f"SELECT pg_advisory_xact_lock({LOCK}, hashtext('{space}'))"


async def lay_out(session: Session, space: str) -> None:
    """Make the tables that are missing; raises `StateTooNew` where a newer version of AATS made them."""
    if await session.value("SELECT to_regclass($1) IS NOT NULL", f"{space}.layout"):
        version = await session.value(f"SELECT max(version) FROM {space}.layout")
        if version is not None:
            _check(version, space)
            return
    scripts = [_LAYOUT, keyvalue.LAYOUT, locks.LAYOUT, graph.LAYOUT]
    await session.run("BEGIN;" + locking(space))
    await session.run("".join(scripts).replace("{space}", space))
    if await session.value(f"SELECT max(version) FROM {space}.layout") is None:
        await session.run(f"INSERT INTO {space}.layout VALUES ({VERSION})")
    await session.run("COMMIT")


def _check(version: int, space: str) -> None:
    if version > VERSION:
        raise StateTooNew(
            f"schema {space}: was made by a newer version of AATS (layout {version}, this one knows {VERSION}); "
            "run that version, or name another `db_schema`"
        )
