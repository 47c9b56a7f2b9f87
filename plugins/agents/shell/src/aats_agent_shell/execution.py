"""The execution of one command: fed, followed, and ended in time."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from aats_agent_shell.capture import Capture, open_capture
from aats_agent_shell.command import Invocation
from aats_core.agent import TaskContext
from aats_core.processes import Process, Processes
from aats_core.secrets import redact

log = logging.getLogger("aats.agent.shell")

PROGRESS_INTERVAL = 1.0
"""Seconds between progress reports of one command."""


class Execution(msgspec.Struct, frozen=True):
    """What came of a command: its exit code (minus the signal that ended it), its outputs, and how long it took."""

    code: int
    stdout: Capture
    stderr: Capture
    seconds: float
    timed_out: bool


async def execute(
    processes: Processes, invocation: Invocation, ctx: TaskContext, *, timeout: float | None, limit: int
) -> Execution:
    """Run a command to its end, or end it after `timeout` seconds or when the task is cancelled.

    Keeps `limit` bytes of each output. Raises `OSError` and `ValueError` where the command cannot be started, as
    `Processes.start` does.
    """
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        out, err, process = await _start(processes, invocation, limit, stack)
        await stack.enter_async_context(_reporting(out, ctx))
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                await process.wait()
        except BaseException as error:
            await process.stop()
            if not (isinstance(error, TimeoutError) and deadline.expired()):
                raise
        await out.finish()
        await err.finish()
        return Execution(await process.wait(), out, err, time.monotonic() - began, deadline.expired())


async def _start(
    processes: Processes, invocation: Invocation, limit: int, stack: AsyncExitStack
) -> tuple[Capture, Capture, Process]:
    """Start the command with its pipes; our ends of them are closed with the stack."""
    fds: dict[int, int] = {}
    try:
        out, fds[1] = await open_capture(limit)
        stack.callback(out.transport.close)
        err, fds[2] = await open_capture(limit)
        stack.callback(err.transport.close)
        if invocation.stdin:
            fds[0] = await _feed(invocation.stdin.encode(), stack)
        process = await processes.start(invocation.argv, env=invocation.env, cwd=invocation.cwd, fds=fds)
    finally:
        for fd in fds.values():
            os.close(fd)
    return out, err, process


async def _feed(data: bytes, stack: AsyncExitStack) -> int:
    """Return a file descriptor from which the command reads the data; how much of it it reads is its own affair."""
    out, into = os.pipe()
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(into, "wb", 0))
    except BaseException:
        os.close(out)
        raise
    stack.callback(_stop_feeding, transport)
    transport.write(data)
    transport.write_eof()
    return out


def _stop_feeding(transport: asyncio.WriteTransport) -> None:
    """Drop what the command did not read; a transport that has none of it left closes by itself."""
    if transport.get_write_buffer_size():
        transport.abort()


@asynccontextmanager
async def _reporting(out: Capture, ctx: TaskContext) -> AsyncIterator[None]:
    """Report the last line of the output while in the context, whenever there is a new one, but not too often."""

    async def follow() -> None:
        reported = ""
        while True:
            await ctx.clock.sleep(PROGRESS_INTERVAL)
            await out.changed.wait()
            out.changed.clear()
            line = out.last_line()
            if line and line != reported:
                reported = line
                await ctx.report(redact(line))

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        (ended,) = await asyncio.gather(following, return_exceptions=True)
        if isinstance(ended, Exception):
            log.warning("%s: its progress could not be reported", ctx.id, exc_info=ended)
