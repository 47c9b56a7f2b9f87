"""One server: a few connections, each of which carries a batch of commands in one round trip."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hiredis import pack_command
from redis import exceptions
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aats_core.batching import Batcher
from aats_core.breaker import Breaker
from aats_store_redis.connection import PromptConnection
from aats_store_redis.failures import LOST, Unsent, is_hopeless, reason, translate
from aats_store_redis.scripts import Word
from aats_store_redis.settings import Address, RedisSettings

log = logging.getLogger("aats.store.redis")

Command = Sequence[Word]
Reply = Any

_READ_SIZE = 256 * 1024


def options(address: Address, settings: RedisSettings) -> dict[str, Any]:
    """Return what the driver needs to connect."""
    return {
        "host": address.host,
        "port": address.port,
        "db": address.database,
        "username": settings.user or None,
        "password": settings.password.get_secret_value() or None,
        "socket_timeout": None,  # batches have a time, not reads
        "socket_connect_timeout": settings.timeout,
        "retry": Retry(NoBackoff(), 0),  # a lost connection is looked after by the link
        "protocol": 2,
        "client_name": "aats",
    }


def tls_options(settings: RedisSettings) -> dict[str, Any]:
    """Return what the driver's own connections need for TLS."""
    tls = settings.tls
    return {
        "ssl": True,
        "ssl_ca_certs": tls.ca and str(tls.ca),
        "ssl_certfile": tls.certificate and str(tls.certificate),
        "ssl_keyfile": tls.key and str(tls.key),
        "ssl_password": tls.key_password and tls.key_password.get_secret_value(),
        "ssl_check_hostname": tls.verify_host,
    }


class Node:
    """A server and the way to it. What concurrent callers ask for travels together."""

    def __init__(self, address: Address, settings: RedisSettings) -> None:
        self.address = address
        self._settings = settings
        self._timeout = settings.timeout
        self._idle: list[Connection] = []
        self._breaker = Breaker(settings.timeout)
        self._batches: Batcher[Command, Reply] = Batcher(self._exchange, lanes=settings.pool)
        self._closed = False

    async def ask(self, command: Command) -> Reply:
        """Return the answer to a command; raises `Unsent`, or the driver's errors."""
        return await self._batches.do(command)

    async def follow(self, command: Command) -> Reply:
        """Return the answer to a command that another server has sent here while the keys are moved."""
        _, answer = await self._exchange([("ASKING",), command])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def drain(self) -> None:
        """Wait until everything that was asked for is answered."""
        await self._batches.drain()

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        while self._idle:
            await _disconnect(self._idle.pop())

    def client(self) -> Redis:
        """Return a client of the driver, with connections of its own."""
        chosen = {**self._options(), "socket_timeout": self._timeout}
        return Redis.from_pool(ConnectionPool(connection_class=PromptConnection, **chosen))

    def cluster_client(self) -> RedisCluster:
        """Return a client of the driver for the cluster to which the server belongs."""
        tls = tls_options(self._settings) if self.address.tls else {}
        chosen = {**options(self.address, self._settings), "socket_timeout": self._timeout, **tls}
        del chosen["db"], chosen["retry"]
        return RedisCluster(**chosen)

    def _options(self) -> dict[str, Any]:
        tls = self._settings.tls if self.address.tls else None
        return {**options(self.address, self._settings), "tls": tls}

    async def _exchange(self, commands: list[Command]) -> list[Reply]:
        replies: list[Reply] = []
        packed = b"".join(map(_pack, commands))
        connection, begun = await self._connected(), time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                await connection.send_packed_command(packed, check_health=False)
                for _ in commands:
                    try:
                        replies.append(await connection.read_response())
                    except exceptions.ResponseError as error:
                        replies.append(error)
        except LOST as error:
            await _disconnect(connection)
            replies += [error] * (len(commands) - len(replies))
        except BaseException:
            await _disconnect(connection)
            raise
        else:
            await self._release(connection)
            self._log_slow(commands, time.monotonic() - begun)
        return replies

    def _log_slow(self, commands: Sequence[Command], took: float) -> None:
        """Log a round trip that took long, with its commands and how long they are, but not what they hold."""
        if took > self._settings.slow:
            kinds = Counter(str(command[0]) for command in commands)
            shown = ", ".join(f"{count} {name}" for name, count in kinds.items())
            words = sum(map(len, commands))
            log.warning("%s: a round trip took %.3f s: %s, %d words together", self.address, took, shown, words)

    async def _connected(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            with suppress(*LOST):
                if not await connection.can_read():
                    return connection
            await _disconnect(connection)
        return await self._connect()

    async def _connect(self) -> Connection:
        if self._closed:
            raise Unsent(f"{self.address}: the connections are closed")
        if not self._breaker.allows():
            raise Unsent(f"{self.address}: {self._breaker.reason}", later=True)
        connection = PromptConnection(socket_read_size=_READ_SIZE, **self._options())
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        except (*LOST, exceptions.RedisError) as error:
            await _disconnect(connection)
            if is_hopeless(error):
                raise translate(error, str(self.address)) from error
            self._breaker.failed(error)
            raise Unsent(f"{self.address}: {reason(error)}", later=self._breaker.is_open) from error
        self._breaker.succeeded()
        return connection

    async def _release(self, connection: Connection) -> None:
        if self._closed:
            await _disconnect(connection)
        else:
            self._idle.append(connection)


def _pack(command: Command) -> bytes:
    packed: bytes = pack_command(tuple(command))  # type: ignore[arg-type] # hiredis says that a command has one word
    return packed


async def _disconnect(connection: Connection) -> None:
    with suppress(exceptions.RedisError, OSError):
        await connection.disconnect(nowait=True)
