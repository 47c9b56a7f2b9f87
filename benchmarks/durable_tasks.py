"""Durable tasks on SQLite with synchronous=FULL, from submission to stored result, beside Huey and DBOS."""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from dbos import DBOS
from huey import SqliteHuey
from rounds import measure, show

from aats_core.agent import Agent
from aats_core.handlers import task
from aats_core.hookspecs import hookimpl
from aats_core.operations import TaskEvent
from aats_core.plugins import Catalog, Plugin, PluginKind, discover
from aats_core.task import Plan, PlanState, Task
from aats_core.team import Team
from aats_core.team_file import load_team_file
from aats_core.tuning import tune_process

IN_FLIGHT = 200
OURS, HUEYS, DBOS_TASKS, IDLE = 10_000, 5_000, 600, 200


class Worker(Agent):
    """Runs tasks that do nothing."""

    began = 0.0

    @task("bench.nothing")
    async def nothing(self, payload: dict[str, int]) -> int:
        """Return a number."""
        Worker.began = time.perf_counter()
        return len(payload)


class Ends:
    """Knows when a plan has ended; an observer of the team."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[None]] = {}

    @hookimpl
    def task_changed(self, event: TaskEvent) -> None:
        if event.plan_state is not PlanState.ACTIVE:
            assert event.plan_state is PlanState.DONE, event
            self.waiting.pop(event.plan).set_result(None)


@asynccontextmanager
async def team(sections: str = "") -> AsyncIterator[tuple[Team, Ends]]:
    """Run a team with one worker agent that takes as many tasks at once as are in flight, and those sections."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "team.toml"
        path.write_text(f"[agents.bench]\nreplicas = {IN_FLIGHT}\n{sections}")
        plugin = Plugin(PluginKind.AGENT, "bench", "benchmarks", "0", f"{Worker.__module__}:Worker")
        catalog = Catalog([*discover().plugins, plugin])
        async with Team(load_team_file(path, environ={}, catalog=catalog)) as running:
            ends = Ends()
            running.hooks.register(ends, "benchmark")
            yield running, ends


async def one(running: Team, ends: Ends) -> None:
    record = await running.operations.submit(Plan("bench", (Task("t", "bench.nothing"),)))
    done = ends.waiting[record.id] = asyncio.get_running_loop().create_future()
    await done


async def throughput(sections: str = "") -> float:
    """Return the tasks a second, from submission to stored result."""
    async with team(sections) as (running, ends):
        left = iter(range(OURS))

        async def client() -> None:
            for _ in left:
                await one(running, ends)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
        return OURS / (time.perf_counter() - began)


async def _idle_start() -> float:
    """Return the median milliseconds from the call of submit to the first line of the handler, in an idle team."""
    async with team() as (running, ends):
        spans = []
        for _ in range(IDLE):
            began = time.perf_counter()
            await one(running, ends)
            spans.append((Worker.began - began) * 1e3)
            await asyncio.sleep(0.005)
        return statistics.median(spans)


def ours() -> float:
    return asyncio.run(throughput())


def ours_idle() -> float:
    return asyncio.run(_idle_start())


def huey() -> float:
    """Return Huey's tasks a second: a consumer with threads, results kept; a task that dies with it is lost."""
    with tempfile.TemporaryDirectory() as directory:
        queue = SqliteHuey(filename=f"{directory}/huey.db", fsync=True)

        @queue.task()
        def nothing(payload: dict[str, int]) -> int:
            return len(payload)

        consumer = queue.create_consumer(workers=4, periodic=False, initial_delay=0.001, max_delay=0.01)
        consumer.start()
        began = time.perf_counter()
        flying: deque[object] = deque()
        for _ in range(HUEYS):
            flying.append(nothing({}))
            if len(flying) >= IN_FLIGHT:
                flying.popleft().get(blocking=True, backoff=1.0, max_delay=0.001)  # type: ignore[attr-defined]
        while flying:
            flying.popleft().get(blocking=True, backoff=1.0, max_delay=0.001)  # type: ignore[attr-defined]
        rate = HUEYS / (time.perf_counter() - began)
        consumer.stop(graceful=True)
        return rate


@DBOS.workflow()
def nothing(payload: dict[str, int]) -> int:
    return len(payload)


def dbos() -> float:
    with tempfile.TemporaryDirectory() as directory:
        DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{directory}/dbos.db", "log_level": "ERROR"})
        DBOS.launch()
        with ThreadPoolExecutor(32) as pool:
            began = time.perf_counter()
            list(pool.map(lambda _: DBOS.start_workflow(nothing, {}).get_result(), range(DBOS_TASKS)))
            rate = DBOS_TASKS / (time.perf_counter() - began)
        DBOS.destroy()
        return rate


def main() -> None:
    logging.disable(logging.WARNING)
    tune_process()
    figures = measure({"AATS": ours, "Huey (at most once)": huey, "DBOS": dbos})
    targets = {"Huey (at most once)": ">= 4.5", "DBOS": ">= 30"}
    show(f"durable tasks, {IN_FLIGHT} in flight", "tasks/s, target >= 15,000", figures, ours="AATS", peers=targets)
    figures = measure({"AATS": ours_idle})
    show("submit to start in an idle team, p50", "ms, target <= 1", figures, ours="AATS", peers={})


if __name__ == "__main__":
    main()
