"""Durable tasks on a server: the team's beside those of a peer, whose worker is in this process as ours is."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from durable_tasks import IN_FLIGHT, throughput
from rounds import measure, show

from aats_core.tuning import tune_process
from tests.services import Service


async def rate(submit: Callable[[], Awaitable[object]], done: asyncio.Semaphore, tasks: int) -> float:
    """Return the tasks a second, from the first submission until `done` was released for each."""
    flying = asyncio.Semaphore(IN_FLIGHT)

    async def bounded() -> None:
        async with flying:
            await submit()

    began = time.perf_counter()
    submitting = asyncio.gather(*(bounded() for _ in range(tasks)))
    async with asyncio.timeout(300):
        for _ in range(tasks):
            await done.acquire()
    await submitting
    return tasks / (time.perf_counter() - began)


def compare(
    kind: type[Service], section: str, ours: str, peer: str, target: str, run: Callable[[str], Awaitable[float]]
) -> None:
    """Measure a team with that section, in which `{url}` is the server's, and the peer on one server."""
    logging.disable(logging.WARNING)
    tune_process()
    with tempfile.TemporaryDirectory() as directory:
        server = kind(Path(directory))
        server.start()
        sections = section.format(url=server.url)

        async def peers() -> float:
            return await run(server.url)

        try:
            figures = measure({ours: lambda: asyncio.run(throughput(sections)), peer: lambda: asyncio.run(peers())})
        finally:
            server.stop()
    show(f"durable tasks, {IN_FLIGHT} in flight", "tasks/s", figures, ours=ours, peers={peer: target})
