"""Durable tasks with PostgreSQL as store, beside Procrastinate on the same server: both commit synchronously."""

from __future__ import annotations

import asyncio

from durable_servers import compare, rate
from durable_tasks import IN_FLIGHT
from procrastinate import App, PsycopgConnector

from tests.services import PostgresServer

TASKS = 2_000


async def procrastinate(url: str) -> float:
    """Return Procrastinate's tasks a second, its worker in this process as ours is; one counts once it is finished."""
    app = App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=16))
    done = asyncio.Semaphore(0)

    @app.task
    async def nothing(payload: dict[str, int]) -> int:
        return len(payload)

    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        finish = app.job_manager.finish_job

        async def finished(*arguments: object, **options: object) -> None:
            await finish(*arguments, **options)  # type: ignore[arg-type] # passed on as it is
            done.release()

        app.job_manager.finish_job = finished  # type: ignore[method-assign] # how else would one know without polling
        working = asyncio.create_task(
            app.run_worker_async(concurrency=IN_FLIGHT, install_signal_handlers=False, listen_notify=True)
        )
        result = await rate(lambda: nothing.defer_async(payload={}), done, TASKS)
        working.cancel()
        await asyncio.wait({working}, timeout=10)
    return result


def main() -> None:
    """Measure both on one server with its defaults, `synchronous_commit = on` among them."""
    section = "[stores.primary]\nplugin = 'postgres'\ndsn = '{url}'\n"
    compare(PostgresServer, section, "AATS, PostgreSQL", "Procrastinate", ">= 8", procrastinate)


if __name__ == "__main__":
    main()
