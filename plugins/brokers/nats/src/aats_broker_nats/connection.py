"""The connection to the servers: made, kept up, and its errors translated."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from aats_broker_nats.settings import NatsSettings, check_credentials
from aats_core.errors import BrokerError, BrokerUnavailable
from aats_core.message import new_id

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.05, 1.0
"""Seconds between two attempts to reach a server, at first and in the end."""


class NoAnswer(BrokerUnavailable):
    """Nobody listens to what was asked."""


class Listener:
    """A subject that is listened to, over every connection to come."""

    def __init__(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> None:
        self.subject = subject
        self.callback = callback
        self.subscription: Subscription | None = None


class Connection:
    """Keeps one connection up from `open` to `close`, by a new client of the driver after each loss.

    `up` is set while a server is connected; what `on_up` holds is called after each time it was not. The driver's own
    way to reconnect is not used: it leaks a socket with each attempt that fails half-way, sends later what was given up
    meanwhile, and ends for good when a server refuses it once.
    """

    def __init__(self, settings: NatsSettings) -> None:
        self.up = asyncio.Event()
        self.on_up: list[Callable[[], None]] = []
        self.problem = ""
        self._settings = settings
        self._client = Client()
        self._servers = list(settings.servers)
        self._listeners: dict[Listener, None] = {}
        self._inbox = f"_INBOX.{new_id()}"
        self._numbers = itertools.count()
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._closing = True
        self._reviving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect to the first server that answers; raises `BrokerUnavailable` with the reason where none does."""
        self._closing = False
        await self.listen(f"{self._inbox}.*", self._hear)
        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._connect()
        except TimeoutError as error:
            raise self.unavailable("no server could be reached") from error

    async def close(self) -> None:
        """Send what is buffered, and go."""
        self._closing = True
        self.up.clear()
        if self._reviving is not None:
            self._reviving.cancel()
            with suppress(asyncio.CancelledError):
                await self._reviving
        await _end(self._client)
        self._listeners.clear()

    @property
    def max_payload(self) -> int:
        """How many bytes the server takes at once."""
        return self._client.max_payload

    @property
    def version(self) -> tuple[int, int]:
        """The version of the server."""
        found = self._client.connected_server_version
        return found.major, found.minor

    async def publish(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Write to the server without waiting for more than room in the buffer."""
        try:
            await self._client.publish(subject, data, reply, headers)
        except nats.errors.Error as error:
            raise self.unavailable(str(error)) from error

    async def request(self, subject: str, data: bytes, *, timeout: float) -> bytes:
        """Ask, and return the answer; raises `NoAnswer` where nobody listens, else `BrokerUnavailable`."""
        return (await self.ask(subject, data, timeout=timeout)).data

    async def ask(self, subject: str, data: bytes, *, timeout: float) -> Msg:
        """Ask, and return the answer with its headers.

        The driver's own way to ask swallows a cancellation that comes together with the answer.
        """
        token = f"{next(self._numbers):x}"
        answer = self._answers[token] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self.up.wait()
                await self.publish(subject, data, f"{self._inbox}.{token}")
                message: Msg = await answer
        except TimeoutError as error:
            raise self.unavailable(f"{subject} was not answered within {timeout:g} s") from error
        finally:
            del self._answers[token]
        if not message.data and message.headers and message.headers.get("Status") == "503":
            raise NoAnswer(f"nobody answers {subject}")
        return message

    async def _hear(self, message: Msg) -> None:
        answer = self._answers.get(message.subject[len(self._inbox) + 1 :])
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def listen(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Listener:
        """Call a function with every message of a subject from now on."""
        listener = Listener(subject, callback)
        self._listeners[listener] = None
        if self.up.is_set():
            await self._subscribe(self._client, listener)
        return listener

    async def ignore(self, listener: Listener, *, drain: bool = False) -> None:
        """Listen no more; with `drain`, returns when what the server had sent is passed on."""
        if self._listeners.pop(listener, self) is None and listener.subscription is not None:
            with suppress(nats.errors.Error, TimeoutError):
                if drain and self.up.is_set():
                    async with asyncio.timeout(self._settings.timeout):
                        await listener.subscription.drain()  # type: ignore[no-untyped-call]  # the driver's lack
                else:
                    await listener.subscription.unsubscribe()

    def unavailable(self, what: str) -> BrokerUnavailable:
        """Return the error that says what cannot be done, and what the connection last complained of."""
        why = f" ({self.problem})" if self.problem else ""
        return BrokerUnavailable(f"NATS at {', '.join(self._settings.servers)}: {what}{why}")

    async def _subscribe(self, client: Client, listener: Listener) -> None:
        try:
            listener.subscription = await client.subscribe(listener.subject, cb=listener.callback)
        except nats.errors.Error as error:
            raise self.unavailable(str(error)) from error

    async def _connect(self) -> None:
        """Try every server once, in random order."""
        for server in random.sample(self._servers, len(self._servers)):
            client = Client()
            try:
                await client.connect(**self._options(client, server))
                heard: set[Listener] = set()
                while new := [listener for listener in self._listeners if listener not in heard]:
                    for listener in new:
                        await self._subscribe(client, listener)
                    heard.update(new)
            except BaseException as error:
                await _end(client)
                if not isinstance(error, (BrokerError, nats.errors.Error, OSError, ValueError)):
                    raise
                await self._complain(error)
            else:
                self._rise(client)
                return
        raise self.unavailable("no server could be reached")

    def _options(self, client: Client, server: str) -> dict[str, Any]:
        settings = self._settings

        async def closed() -> None:
            if client is self._client and not self._closing and self._reviving is None:
                self.up.clear()
                self._reviving = asyncio.create_task(self._revive())

        return {
            "servers": [server],
            "name": "aats",
            "user": settings.user or None,
            "password": settings.password and settings.password.get_secret_value(),
            "token": settings.token and settings.token.get_secret_value(),
            "user_credentials": settings.credentials and check_credentials(settings.credentials),
            "tls": settings.tls and settings.tls.context(),
            "connect_timeout": settings.timeout,
            "ping_interval": max(1.0, settings.timeout / 2),
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": FIRST_DELAY,
            "skip_subject_validation": True,
            "error_cb": self._complain,
            "closed_cb": closed,
        }

    async def _complain(self, error: Exception) -> None:
        if isinstance(error, nats.errors.NoServersError):
            return  # what was wrong with the server has been told
        problem = str(error) or type(error).__name__
        if problem != self.problem:
            log.warning("NATS: %s", problem)
        self.problem = problem

    def _rise(self, client: Client) -> None:
        self._client = client
        found = [uri.geturl() for uri in client.discovered_servers]
        self._servers = list(dict.fromkeys([*self._settings.servers, *found]))
        self.problem = ""
        self.up.set()
        for call in self.on_up:
            call()

    async def _revive(self) -> None:
        """Connect anew, however long that takes."""
        delay = FIRST_DELAY
        try:
            while not self.up.is_set():
                with suppress(BrokerError, TimeoutError):
                    async with asyncio.timeout(self._settings.timeout):
                        await self._connect()
                        return
                await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
                delay = min(2 * delay, LONGEST_DELAY)
        finally:
            self._reviving = None


async def _end(client: Client) -> None:
    with suppress(Exception):  # the driver may raise anything of a connection that is lost already
        await client.close()
