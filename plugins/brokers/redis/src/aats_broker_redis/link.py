"""The way to the server that holds the keys of the team: found at first, and again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aats_broker_redis.connection import PromptConnection
from aats_broker_redis.lasting import ended, lasting
from aats_broker_redis.scripts import script
from aats_broker_redis.settings import Address, RedisSettings, parse_address
from aats_core.errors import BrokerError, BrokerUnavailable

T = TypeVar("T")

_log = logging.getLogger(__name__)

LOST = (
    OSError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.AskError,  # and MovedError: another node of the cluster has the keys now
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.ReadOnlyError,
)
"""What says that this server cannot serve now, and that one has to be looked for."""

REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
"""What a server says that will not let this client in a moment later either."""

HELD_UP = ("NOREPLICAS", "MISCONF")
"""How an error begins where a server lacks the replicas, or the room on its disk, without which it may not write."""

OLDEST = 7
HOPS = 5
CALLS = 8
"""Calls, and so connections, that are under way at once."""
FIRST_WAIT, LONGEST_WAIT = 0.02, 1.0
"""Seconds between two looks for a server, growing by the half from the first to the longest."""


class Link:
    """Runs scripts on the server that may write the keys under `root`, whichever that is at the moment.

    `trouble` says why there is none, and is empty while there is one.
    """

    def __init__(self, settings: RedisSettings, root: str) -> None:
        self._settings = settings
        self._root = root
        self._addresses = [parse_address(url) for url in settings.servers]
        self._client: Redis | None = None
        self._news: asyncio.Future[None]
        self._down = asyncio.Event()
        self._calls = asyncio.Semaphore(CALLS)
        self._storing = asyncio.Semaphore(CALLS // 2)  # so that who waits for replicas keeps nobody else waiting
        self._keeper: asyncio.Task[None] | None = None
        self.trouble = "not connected yet"

    async def open(self) -> None:
        """Find the server; raises `BrokerUnavailable` where that takes longer than the timeout, or it refuses us."""
        if any(address.tls for address in self._addresses):
            self._settings.tls.context()  # says which file cannot be used, better than every attempt would
        self._down.set()
        self._news = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(lasting("the look for a Redis server", self._keep))
        try:
            async with self.client(asyncio.get_running_loop().time() + self._settings.timeout):
                pass
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        if self._keeper is not None:
            await ended(self._keeper)
            self._keeper = None
        client, self._client = self._client, None
        self.trouble = "the Redis broker is closed"
        if client is not None:
            await _close(client)

    @asynccontextmanager
    async def client(self, until: float | None = None) -> AsyncIterator[Redis]:
        """Lend the client of the server, once there is one, and look for another where this one loses it.

        Raises `BrokerUnavailable` where there is none by the time `until` of the event loop, or none lets us in.
        """
        while (client := self._client) is None:
            news = self._news
            try:
                async with asyncio.timeout_at(until):
                    await asyncio.wait({news})
            except TimeoutError as error:
                raise BrokerUnavailable(self.trouble) from error
            news.result()
        try:
            yield client
        except LOST as error:
            self._lose(client, error)
            raise
        finally:
            if client is not self._client:
                await _close(client)  # again: a connection may have been opened after the first time

    def _lose(self, client: Redis, error: BaseException) -> None:
        """Leave a client that failed, and look for a server again; others may have noticed first."""
        if client is self._client:
            self._client = None
            self.trouble = f"the connection to Redis is lost: {_reason(error)}"
            _log.warning("%s; looking for a server", self.trouble)
            self._down.set()

    async def run(self, name: str, *arguments: bytes | str | float, until: float, repeat: bool = True) -> Any:
        """Run a script and return its answer, as `call` does."""
        return await self.call(lambda client: self._run(client, name, *arguments), until=until, repeat=repeat)

    async def _run(self, client: Redis, name: str, *arguments: bytes | str | float) -> Any:
        found, settings = script(name), self._settings
        words = 1, self._root, settings.lease * 1000, settings.max_attempts, *arguments
        try:
            return await command(client, "EVALSHA", found.digest, *words)
        except exceptions.NoScriptError:
            return await command(client, "EVAL", found.text, *words)

    async def store(self, name: str, *arguments: bytes | str | float, until: float) -> Any:
        """Run a script and return its answer, as `run` does, once as many servers as are set have what it wrote.

        Raises `BrokerUnavailable` where they do not by the time `until` of the event loop.
        """
        if self._settings.replicas == 1:
            return await self.run(name, *arguments, until=until)
        async with self._permit(self._storing, until):
            return await self.call(
                lambda client: self._replicated(client, until, name, *arguments),
                until=until,
                silence=self._settings.timeout,
            )

    async def _replicated(self, client: Redis, until: float, name: str, *arguments: bytes | str | float) -> Any:
        wanted, timeout, now = self._settings.replicas - 1, self._settings.timeout, asyncio.get_running_loop().time
        # A connection of its own, as a server waits for what was written over the same one.
        async with asyncio.timeout(timeout / 2) as silence, client.client() as one:
            answer = await self._run(one, name, *arguments)
            while True:
                silence.reschedule(now() + timeout / 2)
                left = until - now()
                found = await _copies(one, wanted, max(left / 4, 0.001))
                if found >= wanted:
                    return answer
                if left < timeout / 4:
                    break
        raise BrokerUnavailable(
            f"only {found + 1} of {wanted + 1} servers have what was published, which may be delivered all the same:"
            " start replicas of this primary, or set a lower `replicas`"
        )

    @asynccontextmanager
    async def _permit(self, permits: asyncio.Semaphore, until: float) -> AsyncIterator[None]:
        """Wait for one of the permits; raises `BrokerUnavailable` where there is none by the time `until`."""
        try:
            async with asyncio.timeout_at(until if permits.locked() else None):
                await permits.acquire()
        except TimeoutError as error:
            raise BrokerUnavailable(self.trouble or "Redis has too much to do") from error
        try:
            yield
        finally:
            permits.release()

    async def call(
        self, work: Callable[[Redis], Awaitable[T]], *, until: float, repeat: bool = True, silence: float | None = None
    ) -> T:
        """Do something with the client of the server, and again where the connection is lost meanwhile.

        It counts as lost where that takes more than `silence` seconds, half the timeout unless given. Raises
        `BrokerUnavailable` where there is no answer by the time `until` of the event loop, or, without `repeat`, where
        the connection is lost; it may have been done all the same. A server that may not write now counts as away.
        """
        now = asyncio.get_running_loop().time
        while True:
            try:
                async with self._permit(self._calls, until), self.client(until) as client:
                    async with asyncio.timeout_at(min(until, now() + (silence or self._settings.timeout / 2))):
                        return await work(client)
            except LOST as error:
                if not repeat:
                    raise BrokerUnavailable(self.trouble) from error
            except exceptions.OutOfMemoryError as error:
                raise BrokerError(f"Redis has no memory left, raise its maxmemory or purge: {error}") from error
            except exceptions.RedisError as error:
                if not str(error).startswith(HELD_UP):
                    raise BrokerError(f"Redis refused what was asked: {error}") from error
                if not repeat or now() + LONGEST_WAIT > until:
                    raise BrokerUnavailable(f"Redis may not write: {error}") from error
                await asyncio.sleep(LONGEST_WAIT / 2)

    async def _keep(self) -> None:
        wait = FIRST_WAIT
        while True:
            await self._down.wait()
            self._client = await self._find()
            if self._client is None:
                await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - spreads the load, keeps no secret
                wait = min(wait * 1.5, LONGEST_WAIT)
            else:
                wait, self.trouble = FIRST_WAIT, ""
                self._down.clear()
                self._tell(None)

    def _tell(self, error: BrokerUnavailable | None) -> None:
        """Tell who waits that there is a server, or why none can be had; who comes later waits for the next look."""
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        if error is None:
            news.set_result(None)
        else:
            news.set_exception(error)
            news.exception()  # or it would be logged where nobody waits

    async def _find(self) -> Redis | None:
        failures, refused = [], False
        for address in self._addresses:
            try:
                return await self._follow(address)
            except REFUSED as error:
                refused = True
                who = repr(self._settings.user or "default")
                failures.append(f"{address}: Redis refused the user {who} or the password: {error}")
            except (exceptions.RedisError, OSError, BrokerError) as error:
                refused |= isinstance(error.__context__, ssl.SSLCertVerificationError)
                failures.append(f"{address}: {_reason(error)}")
        self.trouble = f"no Redis server can be used: {'; '.join(failures)}"
        if refused:
            self._tell(BrokerUnavailable(self.trouble))
        return None

    async def _follow(self, address: Address) -> Redis:
        """Return a client of the server that an address leads to: replicas and other nodes of a cluster point on."""
        for _ in range(HOPS):
            client = self._open(address)
            try:
                async with asyncio.timeout(self._settings.timeout / 2):
                    further = await _pointer(client, self._root)
            except BaseException:
                await _close(client)
                raise
            if further is None:
                return client
            await _close(client)
            address = address._replace(host=further[0] or address.host, port=further[1])
        raise BrokerUnavailable(f"it leads nowhere after {HOPS} hops")

    def _open(self, address: Address) -> Redis:
        settings = self._settings
        pool = ConnectionPool(
            connection_class=PromptConnection,
            tls=settings.tls if address.tls else None,
            host=address.host,
            port=address.port,
            db=address.database,
            username=settings.user or None,
            password=settings.password.get_secret_value() or None,
            socket_timeout=None,  # the driver would send in a task of its own; `call` bounds what it does
            socket_connect_timeout=settings.timeout / 2,
            retry=Retry(NoBackoff(), 0),  # a lost connection is looked after here
            protocol=2,
            client_name="aats",
        )
        return Redis.from_pool(pool)


async def command(client: Redis, *words: bytes | str | float) -> Any:
    """Send a command and return its answer."""
    return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped


async def _copies(client: Redis, wanted: int, seconds: float) -> int:
    """Return how many replicas have what the connection wrote, after so many seconds at most."""
    try:
        return int(await command(client, "WAIT", wanted, math.ceil(seconds * 1000)))
    except exceptions.ResponseError as error:
        if str(error).startswith("UNBLOCKED"):
            raise exceptions.ReadOnlyError("it became a replica") from error
        raise


async def _pointer(client: Redis, root: str) -> tuple[str, int] | None:
    """Return where the server says that writes to that key have to go, or nothing where that is here."""
    version = str((await client.info("server"))["redis_version"])
    if int(version.partition(".")[0]) < OLDEST:
        raise BrokerError(f"it is Redis {version}, and {OLDEST}.0 or later is needed")
    role = await command(client, "ROLE")
    if role[0] not in (b"master", "master"):
        return _text(role[1]), int(role[2])
    try:
        await client.exists(root)
    except exceptions.AskError as moved:
        return moved.host, int(moved.port)
    return None


async def _close(client: Redis) -> None:
    with suppress(exceptions.RedisError, OSError):
        await client.aclose()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def _reason(error: BaseException) -> str:
    return str(error) or ("it does not answer" if isinstance(error, TimeoutError) else type(error).__name__)
