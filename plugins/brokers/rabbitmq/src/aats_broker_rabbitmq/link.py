"""The connection that is always wanted: opened, watched, and opened again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from aats_broker_rabbitmq.session import AccessRefused, Session
from aats_broker_rabbitmq.settings import RabbitSettings
from aats_core.errors import BrokerError, BrokerUnavailable

log = logging.getLogger(__name__)

FIRST_WAIT = 0.02
LONGEST_WAIT = 1.0
"""Seconds between two attempts to connect."""


class Link:
    """Keeps one session, and tells `up` and `down` when one begins and ends."""

    def __init__(
        self, settings: RabbitSettings, up: Callable[[Session], Awaitable[None]], down: Callable[[], None]
    ) -> None:
        self.problem = "the broker is not connected: await connect() first"
        self._settings = settings
        self._up = up
        self._down = down
        self._session: asyncio.Future[Session] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def opened(self) -> bool:
        """Whether a connection is wanted."""
        return self._keeper is not None

    @property
    def session(self) -> Session | None:
        """The session, where there is one now."""
        future = self._session
        return future.result() if future is not None and future.done() and not future.cancelled() else None

    async def open(self) -> None:
        """Connect; raises `BrokerUnavailable` where that fails within the timeout."""
        if self._keeper is not None:
            return
        self.problem = f"{', '.join(self._settings.servers)}: no answer, is it RabbitMQ that listens there?"
        self._session = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name="aats-rabbitmq-link")
        try:
            await self.ready(self._settings.timeout)
        except BaseException:
            await self.close()
            raise

    async def ready(self, timeout: float) -> Session:
        """Wait for a session; raises `BrokerUnavailable` where none comes in time."""
        session = self.session
        if session is not None:
            return session
        if self._session is None:
            raise BrokerUnavailable(self.problem)
        try:
            async with asyncio.timeout(max(timeout, 0)):
                while True:
                    future = self._session
                    if future is None:
                        raise BrokerUnavailable(self.problem)
                    await asyncio.wait({future})
                    if not future.cancelled():
                        return future.result()
        except TimeoutError as error:
            raise BrokerUnavailable(f"no RabbitMQ answers: {self.problem}") from error

    async def close(self) -> None:
        """End the session and want no other."""
        keeper, self._keeper = self._keeper, None
        session, future, self._session = self.session, self._session, None
        self.problem = "the broker is closed"
        if future is not None:
            future.cancel()
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        if session is not None:
            await session.close(self._settings.timeout)

    async def _keep(self) -> None:
        wait = FIRST_WAIT
        while True:
            session = await self._connect()
            if session is None:
                await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - to spread clients, not to hide
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            wait = FIRST_WAIT
            await self._serve(session)

    async def _connect(self) -> Session | None:
        found: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        try:
            attempts = await self._try_all(found)
        except asyncio.CancelledError:
            if found.done():
                found.result().abort()
            raise
        if found.done():
            return found.result()
        problems = [problem for attempt in attempts if (problem := attempt.result())]
        self.problem = "; ".join(map(str, problems))
        if any(isinstance(problem, AccessRefused) for problem in problems):
            self._tell(BrokerUnavailable(self.problem))
        return None

    async def _try_all(self, found: asyncio.Future[Session]) -> Sequence[asyncio.Future[BrokerError | None]]:
        """Try each address once those before it have failed or been silent for long, until a session is found."""
        attempts: list[asyncio.Future[BrokerError | None]] = []
        try:
            for address in self._settings.servers:
                attempts.append(asyncio.create_task(self._try(address, found)))
                await _either(found, attempts[-1], self._settings.timeout / len(self._settings.servers))
                if found.done():
                    break
            await _either(found, asyncio.gather(*attempts))
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        return attempts

    async def _try(self, address: str, found: asyncio.Future[Session]) -> BrokerError | None:
        try:
            async with asyncio.timeout(self._settings.timeout):
                session = await Session.open(address, self._settings)
        except TimeoutError:
            return BrokerUnavailable(f"{address}: no answer within {self._settings.timeout:g} s")
        except BrokerError as error:
            return error
        if found.done():
            session.abort()
        else:
            found.set_result(session)
        return None

    def _tell(self, error: BrokerUnavailable) -> None:
        """Raise an error for all who wait now; those who come later wait for the next attempt."""
        future = self._session
        if future is not None:
            self._session = asyncio.get_running_loop().create_future()
            future.set_exception(error)
            future.exception()  # or it would be logged where nobody waits

    async def _serve(self, session: Session) -> None:
        future = self._session
        assert future is not None
        log.info("connected to RabbitMQ at %s", session.address)
        future.set_result(session)
        resuming = asyncio.ensure_future(self._up(session))
        try:
            await asyncio.wait({session.ended})
        finally:
            self.problem = f"{session.address}: the connection ended"
            if self._session is future:
                self._session = asyncio.get_running_loop().create_future()
            resuming.cancel()
            with suppress(asyncio.CancelledError):
                await resuming
            if self._keeper is not None:
                session.abort()
        log.warning("the connection to RabbitMQ at %s ended; connecting again", session.address)
        self._down()


async def _either(one: asyncio.Future[Any], other: asyncio.Future[Any], timeout: float | None = None) -> None:
    await asyncio.wait({one, other}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
