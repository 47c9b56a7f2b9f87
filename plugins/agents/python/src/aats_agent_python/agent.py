"""The agent that calls Python functions."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aats_agent_python.pool import Pool, WorkerDied
from aats_agent_python.settings import PythonSettings
from aats_agent_python.worker import Answer, Request
from aats_core.agent import Agent, TaskContext
from aats_core.errors import TaskFailed
from aats_core.handlers import task
from aats_core.processes import program_environment
from aats_core.secrets import redact

log = logging.getLogger("aats.agent.python")


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of a task of kind `python.call`.

    `function` is `package.module:function`, or `package.module:Class.method`; `timeout` is in seconds.
    """

    function: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    timeout: Annotated[float, Meta(gt=0)] | None = None

    def __post_init__(self) -> None:
        """Check how the function is written."""
        module, _, path = self.function.partition(":")
        if not all(part.isidentifier() for part in [*module.split("."), *path.split(".")]):
            raise ValueError(f"{self.function!r} is not a function; write package.module:function")


class Python(Agent):
    """Runs tasks that are importable Python functions, each call in a process apart from the team's."""

    Settings = PythonSettings

    _pool: Pool | None = None

    async def start(self) -> None:
        """Get ready to start processes; none is started yet."""
        if self._pool is None:
            settings: PythonSettings = self.settings
            self._pool = Pool(settings.replicas, path=settings.path, env=program_environment())

    async def stop(self) -> None:
        """End every process."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    @task("python.call")
    async def call(self, payload: Call, ctx: TaskContext) -> Any:
        """Call a function and return what it returns."""
        assert self._pool is not None
        settings: PythonSettings = self.settings
        about = {"AATS_TASK_ID": ctx.id, "AATS_PLAN": ctx.plan, "AATS_ATTEMPT": str(ctx.attempt)}
        request = Request(payload.function, payload.args, payload.kwargs, settings.allow, settings.max_result, about)
        timeout = settings.timeout if payload.timeout is None else payload.timeout
        deadline = asyncio.timeout(timeout)
        try:
            async with self._pool.worker() as worker, deadline:
                answer = await worker.call(request)
                printed = worker.printed
        except WorkerDied as error:
            raise TaskFailed(f"{payload.function}: {error}", output={"printed": error.printed}) from error
        except OSError as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                raise TaskFailed(f"{payload.function}: no end within {timeout:g} s") from error
            raise TaskFailed(f"{payload.function}: a process for it cannot be started: {error}") from error
        if not answer.ok:
            raise _failed(payload.function, answer, printed)
        if printed:
            log.info("%s: %s printed: %s", ctx.id, payload.function, printed)
        return msgspec.json.decode(answer.result)


def _failed(function: str, answer: Answer, printed: str) -> TaskFailed:
    if not answer.type:
        return TaskFailed(redact(answer.message), retry=False)
    output = msgspec.json.decode(answer.output)
    if output is None:
        output = {
            "type": answer.type,
            "message": answer.message,
            "traceback": answer.traceback,
            "printed": printed,
        }
    return TaskFailed(redact(f"{function} raised {answer.type}: {answer.message}"), retry=answer.retry, output=output)
