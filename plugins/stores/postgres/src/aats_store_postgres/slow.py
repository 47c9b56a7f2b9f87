"""Logs slow statements, each with the plan that PostgreSQL has for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aats_core.errors import StoreError

if TYPE_CHECKING:
    from aats_store_postgres.pool import Pool
    from aats_store_postgres.session import Session

log = logging.getLogger("aats.store.postgres")

_PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


class SlowLog:
    """Asks for the plan of one slow statement at a time, so that the log does not slow the server down further."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._task: asyncio.Task[None] | None = None

    def __call__(self, sql: str, arguments: Sequence[Any], seconds: float) -> None:
        """Log a statement, its values left out; the plan follows."""
        if self._task is not None and not self._task.done():
            log.warning("a statement took %.3f s: %s", seconds, sql)
            return
        self._task = asyncio.get_running_loop().create_task(self._explain(sql, arguments, seconds))

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _explain(self, sql: str, arguments: Sequence[Any], seconds: float) -> None:
        plan = "not asked for"
        if sql.lstrip().startswith(_PLANNED):

            async def work(session: Session) -> str:
                return await _plan(session, sql, len(arguments))

            try:
                plan = await self._pool.run_aside(work)
            except StoreError as error:
                plan = str(error)
        log.warning("a statement took %.3f s: %s\nits plan: %s", seconds, sql, plan)


async def _plan(session: Session, sql: str, count: int) -> str:
    """Return the plan for whatever arguments, so that it shows none of them."""
    run = session.connection.execute
    await run(f"BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; PREPARE aats_slow AS {sql}")
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    rows = await session.connection.fetch(f"EXPLAIN EXECUTE aats_slow{arguments}")
    await run("COMMIT; DEALLOCATE aats_slow")
    return "\n".join(row[0] for row in rows)
