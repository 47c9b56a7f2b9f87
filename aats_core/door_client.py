"""The other side of the door: a running team's operations, called from another process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

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
from aats_core.error_body import revive
from aats_core.errors import InvalidRequest, TeamUnavailable
from aats_core.operations import Operations

CALL_TIMEOUT = 60.0
"""Seconds that a call waits for its answer where the caller does not say."""

_REPLY_LIMIT = 512 * 1024 * 1024
_ITEMS_WAITING = 10_000


@asynccontextmanager
async def connect(state_dir: Path, *, timeout: float = CALL_TIMEOUT) -> AsyncIterator[Operations]:
    """Yield the operations of the team that runs in that state directory.

    Every method behaves as the team's own and raises the same errors; a call raises `TeamUnavailable` where no team
    runs there, where it goes away, and where it does not answer within `timeout` seconds. Calls begin in the order in
    which they are made; a `watch` has begun before whatever is called once it is being iterated.
    """
    try:
        with socket_address(state_dir) as address:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_unix_connection(address, limit=_REPLY_LIMIT)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise TeamUnavailable(_nobody(state_dir)) from error
    except OSError as error:
        raise TeamUnavailable(f"{socket_path(state_dir)}: {error.strerror or error}") from error
    connection = _Connection(state_dir, reader, writer, timeout)
    receiver = asyncio.create_task(connection.receive())
    try:
        yield _Remote(connection)
    finally:
        writer.transport.abort()
        receiver.cancel()
        await asyncio.wait([receiver])


def _nobody(state_dir: Path) -> str:
    return (
        f"no team is running in {state_dir}: start one with `aats run TEAM.toml`, "
        "or name the state directory of one that runs with --state-dir"
    )


class _Connection:
    """Sends requests and hands each the replies that are meant for it."""

    def __init__(
        self, state_dir: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float
    ) -> None:
        self._state_dir = state_dir
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[Reply | Exception]] = {}
        self._lost: Exception | None = None

    async def call(self, operation: Operation, arguments: dict[str, Any]) -> Any:
        """Return what the operation answers."""
        number, replies = await self._send(operation, arguments)
        try:
            async with asyncio.timeout(self._timeout):
                reply = await _next(replies)
        except TimeoutError as error:
            raise TeamUnavailable(
                f"the team in {self._state_dir} has not answered {operation.name} within {self._timeout:g} seconds"
            ) from error
        finally:
            del self._waiting[number]
        return msgspec.json.decode(reply.result, type=operation.returns)

    async def stream(self, operation: Operation, arguments: dict[str, Any]) -> AsyncIterator[Any]:
        """Yield what the operation yields."""
        number, replies = await self._send(operation, arguments)
        ended = False
        try:
            while True:
                reply = await _next(replies)
                if reply.end:
                    ended = True
                    return
                yield msgspec.json.decode(reply.item, type=operation.returns)
        finally:
            del self._waiting[number]
            if not ended and self._lost is None:
                self._writer.write(msgspec.json.encode(Request(number, stop=True)) + b"\n")

    async def receive(self) -> None:
        """Hand on replies until the connection ends, and then tell everyone who still waits."""
        try:
            while line := await self._reader.readline():
                reply = msgspec.json.decode(line, type=Reply)
                if reply.id is None and reply.error is not None:
                    self._end(revive(reply.error))
                elif (replies := self._waiting.get(reply.id or 0)) is not None:
                    if replies.full():
                        replies.get_nowait()
                    replies.put_nowait(reply)
            self._end(TeamUnavailable(f"the team in {self._state_dir} has stopped or was killed"))
        except (OSError, ValueError) as error:
            self._end(TeamUnavailable(f"the connection to the team in {self._state_dir} is lost: {error}"))

    async def _send(
        self, operation: Operation, arguments: dict[str, Any]
    ) -> tuple[int, asyncio.Queue[Reply | Exception]]:
        if self._lost is not None:
            raise self._lost
        number = next(self._ids)
        line = msgspec.json.encode(Request(number, operation.name, msgspec.Raw(msgspec.json.encode(arguments)))) + b"\n"
        if len(line) > REQUEST_LIMIT:
            raise InvalidRequest(
                f"{operation.name}: the request has {len(line)} bytes, at most {REQUEST_LIMIT} are possible: "
                "pass large data as a file"
            )
        replies = self._waiting[number] = asyncio.Queue(_ITEMS_WAITING)
        self._writer.write(line)
        with suppress(ConnectionError):  # the receiver says so
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
        return number, replies

    def _end(self, error: Exception) -> None:
        self._lost = self._lost or error
        for replies in self._waiting.values():
            if replies.full():
                replies.get_nowait()
            replies.put_nowait(self._lost)


async def _next(replies: asyncio.Queue[Reply | Exception]) -> Reply:
    reply = await replies.get()
    if isinstance(reply, Exception):
        raise reply
    if reply.error is not None:
        raise revive(reply.error)
    return reply


class _Remote(Operations):
    """The operations, each of them passed through a connection."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection


def _pass_on(operation: Operation) -> Callable[..., Any]:
    def bind(self: _Remote, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        bound = operation.signature.bind(self, *arguments, **options).arguments
        bound.pop("self")
        return bound

    async def call(self: _Remote, *arguments: Any, **options: Any) -> Any:
        return await self._connection.call(operation, bind(self, arguments, options))

    def stream(self: _Remote, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        return self._connection.stream(operation, bind(self, arguments, options))

    return stream if operation.yields else call


for _operation in operations().values():
    setattr(_Remote, _operation.name, _pass_on(_operation))
