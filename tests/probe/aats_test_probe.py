"""An agent for tests, whose tasks behave as they are told; `probe` is installed for a test by the fixture `probe`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from aats_core import Agent, Put, TaskContext, TaskFailed, on, task


class Probe(Agent):
    """Runs tasks that succeed, fail, hang, lie, exit and leave traces."""

    async def start(self) -> None:
        """Begin without memories."""
        self.starts: dict[str, int] = {}

    @task("probe.echo")
    async def echo(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the payload."""
        return payload

    @task("probe.sleep")
    async def sleep(self, seconds: float, ctx: TaskContext) -> str:
        """Sleep, reporting that it does."""
        await ctx.report("asleep")
        await asyncio.sleep(seconds)
        return "slept"

    @task("probe.flaky")
    async def flaky(self, failures: int, ctx: TaskContext) -> int:
        """Fail so many times, then return the attempt's number."""
        if ctx.attempt <= failures:
            raise ValueError(f"attempt {ctx.attempt} of {ctx.name}")
        return ctx.attempt

    @task("probe.deaf")
    async def deaf(self, seconds: float) -> None:
        """Work for so long whatever anybody says, then end as cancelled."""
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
        raise asyncio.CancelledError

    @task("probe.refuse")
    async def refuse(self, payload: dict[str, Any]) -> None:
        """Fail for good."""
        raise TaskFailed("no use in trying again", retry=False)

    @task("probe.lie")
    async def lie(self, payload: dict[str, Any]) -> int:
        """Return what the annotation does not allow."""
        return "a lie"  # type: ignore[return-value]

    @task("probe.exit")
    async def leave(self, payload: dict[str, Any]) -> None:
        """Call sys.exit."""
        raise SystemExit(7)

    @task("probe.exit_beside")
    async def leave_beside(self, payload: int) -> None:
        """Call sys.exit in a task of its own."""

        async def leave() -> None:
            raise SystemExit(payload)

        await asyncio.gather(leave())

    @task("probe.large")
    async def large(self, mebibytes: float) -> str:
        """Return so much."""
        return "x" * int(mebibytes * 1024 * 1024)

    @task("probe.kill")
    async def kill(self, payload: dict[str, Any]) -> None:
        """Kill the whole process."""
        os._exit(9)

    @task("probe.append")
    async def append(self, path: str, pause: float, ctx: TaskContext) -> str:
        """Append the task's name to a file, once, with pauses in which the process may be killed."""
        line = f"{ctx.name}\n"

        async def do() -> str:
            await asyncio.sleep(pause)
            with Path(path).open("a") as file:
                file.write(line)
            await asyncio.sleep(pause)
            return "appended"

        async def check(key: str) -> str | None:
            found = Path(path).exists() and line in Path(path).read_text().splitlines(keepends=True)
            return "appended" if found else None

        with Path(f"{path}.runs").open("a") as runs:
            runs.write(f"{ctx.name} {ctx.attempt}\n")
        outcome: str = await ctx.effects.once("append", do, check=check)
        return outcome

    @task("probe.effect")
    async def effect(self, path: str, mode: str, ctx: TaskContext) -> str:
        """Do an effect that fails the first time, without a way to check whether it happened."""

        async def do() -> str:
            with Path(path).open("a") as file:
                file.write(f"{ctx.attempt}\n")
            if ctx.attempt == 1 and mode == "clean":
                raise TaskFailed("it did not happen")
            if ctx.attempt == 1:
                raise ConnectionError("no answer")
            return f"done in attempt {ctx.attempt}"

        outcome: str = await ctx.effects.once("effect", do, idempotent=mode == "idempotent")
        return outcome

    @task("probe.store")
    async def store(self, id: str, ctx: TaskContext) -> str:
        """Write a document in the transaction of the result."""
        ctx.effects.store(Put("probes", {"_id": id, "task": ctx.id}))
        return id

    @on("remember")
    async def remember(self, value: int) -> int:
        """Add to the durable state."""
        state = await self.load_state()
        state["sum"] = state.get("sum", 0) + value
        await self.save_state(state)
        return int(state["sum"])
