"""The door of a running team: serves its operations on a Unix socket that only its own user can open."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
import stat
import struct
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from aats_core.door_protocol import (
    REQUEST_LIMIT,
    Operation,
    Reply,
    Request,
    operations,
    socket_address,
    socket_path,
)
from aats_core.error_body import ErrorBody, describe
from aats_core.errors import AatsError, InvalidRequest, StateError
from aats_core.operations import Operations
from aats_core.policy import acting_for

AT_ONCE = 64
"""Requests of one connection that may be under way at once."""

STALL_LIMIT = 3600.0
"""Seconds after which a client that reads nothing is given up; a pager may hold one up for long."""

log = logging.getLogger("aats.door")


class Door:
    """An async context manager: inside it the team can be spoken to through `<state_dir>/aats.sock`.

    The socket has mode 0600. A socket that a killed team left behind is replaced, since a state directory belongs to
    one process. Whatever a client sends or fails to read harms nobody but that client.
    """

    def __init__(self, team: Operations, state_dir: Path) -> None:
        self._team = team
        self._state_dir = state_dir
        self._operations = operations()
        self._stack = AsyncExitStack()
        self._group = asyncio.TaskGroup()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Open the socket; raises `StateError` where that is not possible."""
        listener = _listen(self._state_dir)
        await self._stack.enter_async_context(self._group)
        self._stack.callback(socket_path(self._state_dir).unlink, missing_ok=True)
        server = await asyncio.start_unix_server(self._connected, sock=listener, limit=REQUEST_LIMIT)
        self._stack.callback(self._hang_up)
        self._stack.callback(server.close)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the socket and end every connection, with whatever it still waits for."""
        await self._stack.__aexit__(kind, error, trace)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._team, self._operations, reader, writer)
        task = self._group.create_task(connection.serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.cancel()


class _ClientGone(Exception):
    """The client does not take its answer."""


class _Connection:
    """One client, from its first line to its last."""

    def __init__(
        self,
        team: Operations,
        operations: dict[str, Operation],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._team = team
        self._operations = operations
        self._reader = reader
        self._writer = writer
        self._running: dict[int, asyncio.Task[None]] = {}
        self._streams: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answer until the client says no more; what it only asked once is still answered then, what streams ends."""
        try:
            with acting_for(unix_subject(_peer(self._writer.get_extra_info("socket")))):
                async with asyncio.TaskGroup() as group:
                    await self._read_requests(group)
                    for stream in self._streams:
                        stream.cancel()
                async with asyncio.timeout(STALL_LIMIT):
                    self._writer.close()
                    await self._writer.wait_closed()
        except* (_ClientGone, OSError):
            log.debug("a client went away before it was answered")
        except* Exception:
            log.exception("a client's connection failed")
        finally:
            self._writer.transport.abort()

    async def _read_requests(self, group: asyncio.TaskGroup) -> None:
        while True:
            try:
                request = await self._read()
            except InvalidRequest as error:
                await self._fail(None, error)
                return
            if request is None:
                return
            await self._take(group, request)

    async def _read(self) -> Request | None:
        try:
            line = await self._reader.readline()
            return msgspec.json.decode(line, type=Request) if line else None
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidRequest(f"a request is one JSON object a line: {error}") from error
        except ValueError as error:
            raise InvalidRequest(f"a request is at most {REQUEST_LIMIT} bytes long") from error

    async def _take(self, group: asyncio.TaskGroup, request: Request) -> None:
        operation = self._operations.get(request.op)
        if request.stop:
            if request.id in self._running:
                self._running[request.id].cancel()
        elif request.id in self._running:
            await self._fail(request.id, InvalidRequest(f"request {request.id} is under way already"))
        elif len(self._running) >= AT_ONCE:
            await self._fail(request.id, InvalidRequest(f"at most {AT_ONCE} requests can be under way at once"))
        elif operation is None:
            known = ", ".join(sorted(self._operations))
            await self._fail(request.id, InvalidRequest(f"there is no operation {request.op!r}, but {known}"))
        else:
            task = self._running[request.id] = group.create_task(self._answer(request, operation))
            task.add_done_callback(lambda _: self._running.pop(request.id))
            if operation.yields:
                self._streams.add(task)
                task.add_done_callback(self._streams.discard)

    async def _answer(self, request: Request, operation: Operation) -> None:
        try:
            call = getattr(self._team, operation.name)(**operation.read(request.args))
            if operation.yields:
                async with aclosing(call):
                    async for item in call:
                        await self._write(Reply(request.id, item=item))
                await self._write(Reply(request.id, end=True))
            else:
                await self._write(Reply(request.id, result=await call))
        except AatsError as error:
            await self._fail(request.id, error)
        except _ClientGone:
            raise
        except Exception as error:
            log.exception("operation %s failed", request.op)
            body = ErrorBody("AatsError", f"{request.op} failed within the team ({error!r}); its log has the details")
            await self._write(Reply(request.id, error=body))

    async def _fail(self, id: int | None, error: AatsError) -> None:
        await self._write(Reply(id, error=describe(error)))

    async def _write(self, reply: Reply) -> None:
        line = msgspec.json.encode(reply) + b"\n"
        try:
            self._writer.write(line)
            async with asyncio.timeout(STALL_LIMIT):
                await self._writer.drain()
        except OSError as error:
            raise _ClientGone from error


def _listen(state_dir: Path) -> socket.socket:
    path = socket_path(state_dir)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(OSError):
            os.fchmod(listener.fileno(), 0o600)  # Linux gives the socket's file this mode from the start
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise StateError(f"{path} is in the way: it is not a socket; move it elsewhere")
            path.unlink()
        with socket_address(state_dir) as address:
            listener.bind(address)
        path.chmod(0o600)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        raise StateError(f"{path} cannot be opened: {error.strerror or error}") from error
    except StateError:
        listener.close()
        raise
    return listener


def unix_subject(uid: int) -> str:
    """Return the principal that a user of this machine is: `unix:<name>`, or the number where it has no name."""
    try:
        return f"unix:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"unix:{uid}"


def _peer(connection: Any) -> int:
    """Return the user id of the process at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
