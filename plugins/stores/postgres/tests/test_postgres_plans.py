"""A plan whose tasks live in PostgreSQL: killed with -9 in the middle, the same command again carries it to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from tests.stored_runs import StoredRuns


class TestRuns(StoredRuns):
    section = 'plugin = "postgres"\ndsn = { env = "PLAN_STORE" }'

    def states(self, server: Any, namespace: str) -> set[str]:
        async def read() -> set[str]:
            connection = await asyncpg.connect(server.url)
            try:
                comment = f"documents of {namespace}.tasks"
                table = await connection.fetchval(
                    "SELECT objoid::regclass::text FROM pg_description WHERE description = $1", comment
                )
                return {row[0] for row in await connection.fetch(f"SELECT DISTINCT doc->>'state' FROM {table}")}
            finally:
                await connection.close()

        return asyncio.run(read())
