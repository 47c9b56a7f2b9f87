"""Durable tasks with PostgreSQL as store, beside Procrastinate on the same server: both commit synchronously."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from pathlib import Path

from durable_tasks import IN_FLIGHT, throughput
from procrastinate import App, PsycopgConnector
from rounds import measure, show

from aats_core.tuning import tune_process
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
        flying = asyncio.Semaphore(IN_FLIGHT)

        async def submit() -> None:
            async with flying:
                await nothing.defer_async(payload={})

        began = time.perf_counter()
        submitting = asyncio.gather(*(submit() for _ in range(TASKS)))
        async with asyncio.timeout(300):
            for _ in range(TASKS):
                await done.acquire()
        await submitting
        rate = TASKS / (time.perf_counter() - began)
        working.cancel()
        await asyncio.wait({working}, timeout=10)
    return rate


def main() -> None:
    """Measure both on one server with its defaults, `synchronous_commit = on` among them."""
    logging.disable(logging.WARNING)
    tune_process()
    with tempfile.TemporaryDirectory() as directory:
        server = PostgresServer(Path(directory))
        server.start()
        section = f"[stores.primary]\nplugin = 'postgres'\ndsn = '{server.url}'\n"
        try:
            figures = measure(
                {
                    "AATS, PostgreSQL": lambda: asyncio.run(throughput(section)),
                    "Procrastinate": lambda: asyncio.run(procrastinate(server.url)),
                }
            )
        finally:
            server.stop()
    peers = {"Procrastinate": ">= 8"}
    show(f"durable tasks, {IN_FLIGHT} in flight", "tasks/s", figures, ours="AATS, PostgreSQL", peers=peers)


if __name__ == "__main__":
    main()
