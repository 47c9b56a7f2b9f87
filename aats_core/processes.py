"""Programs as children of the team's process: none of them, nor anything that they start, outlives their owner."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aats_core import launcher

START_TIMEOUT = 30.0
"""Seconds for a program to be executed; more only where its file lies on a disk that does not answer."""

MARGIN = launcher.LAST + 5.0
"""Seconds beyond the grace time within which a program that was told to end has been ended."""


class Process:
    """A program that was started. It ends by itself, by `end`, or with the process that started it."""

    def __init__(self, pid: int, line: _Line, grace: float) -> None:
        self.pid = pid
        self._line = line
        self._grace = grace

    async def wait(self) -> int:
        """Wait until the program and all that it started has ended; returns its exit code, or minus the signal.

        Raises `ChildProcessError` where that cannot be known, because its supervisor was killed or does not answer.
        """
        code = await asyncio.shield(self._line.ended)
        if code is None:
            raise ChildProcessError(f"what became of process {self.pid} is not known: its supervisor is gone")
        return code

    def end(self) -> None:
        """Have the program and all that it started end: SIGTERM, and SIGKILL after the grace time."""
        self._line.end()

    async def stop(self) -> None:
        """Have it end, and return once it has; a cancellation that comes meanwhile is raised after that.

        Takes the grace time and a few seconds at most, whatever the program does.
        """
        self.end()
        loop, cancelled = asyncio.get_running_loop(), None
        deadline = loop.time() + self._grace + MARGIN
        while not self._line.ended.done() and loop.time() < deadline:
            try:
                await asyncio.wait([self._line.ended], timeout=deadline - loop.time())
            except asyncio.CancelledError as error:
                cancelled = error
        self._line.transport.abort()
        if cancelled is not None:
            raise cancelled


class Processes:
    """Starts programs, each in a session of its own, and ends them and all that came of them when it is closed.

    That also happens when this process ends in whatever way, `kill -9` included: a launcher of its own, begun with
    the first program, sees to it. On Linux it holds for every descendant, elsewhere for the program's process group.
    What runs as another user cannot be ended; and where the launcher's processes are killed too, only the programs
    themselves end with them. What a program leaves running when it ends is ended as well.
    """

    def __init__(self, *, grace: float = 5.0) -> None:
        self._grace = grace
        self._launching = asyncio.Lock()
        self._launcher: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._lines: set[_Line] = set()

    async def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | Path | None = None,
        fds: Mapping[int, int] | None = None,
    ) -> Process:
        """Start a program and return it once it has been executed.

        `fds` says which file descriptor of this process becomes which of the program's; the caller closes its own
        afterwards. Standard ones that are not given are /dev/null. Raises `OSError` as `subprocess` does, its
        `filename` being the working directory or the program, and `ValueError` where an argument cannot be passed.
        """
        targets, place = dict(fds or {}), None if cwd is None else str(cwd)
        request = {"argv": list(argv), "env": dict(env), "cwd": place, "targets": list(targets), "grace": self._grace}
        body = json.dumps(request).encode()
        line = await self._supervise(list(targets.values()))
        try:
            line.transport.write(launcher.LENGTH.pack(len(body)) + body)
            async with asyncio.timeout(START_TIMEOUT):
                said = await asyncio.shield(line.started)
        except BaseException:  # what was begun has to end first, as it would after the start
            await Process(0, line, self._grace).stop()
            raise
        if "pid" not in said:
            raise _reason(said, program=argv[0], cwd=place)
        return Process(said["pid"], line, self._grace)

    async def close(self) -> None:
        """End whatever still runs, wait for that, and end the launcher; closing twice is harmless."""
        lines = list(self._lines)
        for line in lines:
            line.end()
        try:
            if lines:
                await asyncio.wait([line.ended for line in lines], timeout=self._grace + MARGIN)
        finally:
            for line in lines:
                line.transport.abort()
            await self._dismiss()

    async def _supervise(self, fds: list[int]) -> _Line:
        """Have the launcher fork a supervisor, and return the line to it."""
        ours, theirs = socket.socketpair()
        try:
            async with self._launching:
                await self._ask([theirs.fileno(), *fds])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        _, line = await loop.create_unix_connection(lambda: _Line(self._lines), sock=ours)
        return line

    async def _ask(self, fds: list[int]) -> None:
        if self._requests is not None:
            with suppress(BrokenPipeError, ConnectionResetError):  # someone killed it: there will be another
                socket.send_fds(self._requests, [b"+"], fds)
                return
            await self._dismiss()
        self._requests = self._launch()
        socket.send_fds(self._requests, [b"+"], fds)

    def _launch(self) -> socket.socket:
        """Start the launcher and return the way to it; not a coroutine, so that no cancellation comes in between."""
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        try:
            self._launcher = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-I", "-S", launcher.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    async def _dismiss(self) -> None:
        """End the launcher; what it started is not affected."""
        gone, self._launcher = self._launcher, None
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if gone is not None:
            await asyncio.shield(asyncio.to_thread(_reap, gone))


class _Line(asyncio.Protocol):
    """The line to the supervisor of one program. What it says are JSON objects, one a line."""

    transport: asyncio.WriteTransport

    def __init__(self, lines: set[_Line]) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.ended: asyncio.Future[int | None] = loop.create_future()
        self._lines = lines
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self._lines.add(self)

    def end(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"e")

    def data_received(self, data: bytes) -> None:
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "code" in said:
                self.ended.set_result(said["code"])
            else:
                self.started.set_result(said)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - given by the event loop
        self._lines.discard(self)
        if not self.started.done():
            self.started.set_result({})
        if not self.ended.done():
            self.ended.set_result(None)
            pid = self.started.result().get("pid")
            if pid:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)


def _reap(launched: subprocess.Popen[bytes]) -> None:
    try:
        launched.wait(MARGIN)
    except subprocess.TimeoutExpired:
        launched.kill()
        launched.wait()


def program_environment() -> dict[str, str]:
    """Return this process's environment as programs may see it: without what overrides the team file (`AATS_…__…`).

    Those variables may hold the passwords of brokers and stores, which are none of a task's business.
    """
    return {name: value for name, value in os.environ.items() if not (name.startswith("AATS_") and "__" in name)}


def _reason(said: dict[str, Any], *, program: str, cwd: str | None) -> Exception:
    """Return the error that says why a program was not executed."""
    if not said:
        return ChildProcessError(f"the supervisor of {program} was killed before it could start it")
    if not said["errno"]:
        return ValueError(f"{program} cannot be started like this: {said['reason']}")
    return OSError(said["errno"], os.strerror(said["errno"]), cwd if said["place"] == "cwd" else program)
