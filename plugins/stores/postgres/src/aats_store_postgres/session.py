"""A connection while somebody uses it: statements, whose times are watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeAlias

Connection: TypeAlias = Any
"""A connection of asyncpg, which has no types."""

Row: TypeAlias = Any
"""A record of asyncpg: its columns by number or name."""

Watch: TypeAlias = Callable[[str, Sequence[Any], float], None]
"""Is told of a statement that was slow, with its arguments and how many seconds it took."""


class Session:
    """Runs statements; errors are the driver's."""

    __slots__ = ("_slow", "_watch", "connection")

    def __init__(self, connection: Connection, slow: float, watch: Watch) -> None:
        self.connection = connection
        self._slow = slow
        self._watch = watch

    async def fetch(self, sql: str, *arguments: Any) -> list[Row]:
        """Return the rows of a statement."""
        begun = perf_counter()
        rows: list[Row] = await self.connection.fetch(sql, *arguments)
        if (taken := perf_counter() - begun) > self._slow:
            self._watch(sql, arguments, taken)
        return rows

    async def value(self, sql: str, *arguments: Any) -> Any:
        """Return the first column of the first row, or None where there is no row."""
        rows = await self.fetch(sql, *arguments)
        return rows[0][0] if rows else None

    async def run(self, script: str) -> None:
        """Run statements without arguments, in one round trip."""
        await self.connection.execute(script)
