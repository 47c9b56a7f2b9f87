"""The connection to the servers: made, kept up, and its errors translated."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from aats_broker_nats.settings import NatsSettings, Tls
from aats_core.errors import BrokerError, BrokerUnavailable

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0
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
    """Keeps one connection up from `open` to `close`.

    `up` is set while a server is connected; what `on_up` holds is called after each time it was not.
    """

    def __init__(self, settings: NatsSettings) -> None:
        self.up = asyncio.Event()
        self.on_up: list[Callable[[], None]] = []
        self.problem = ""
        self._settings = settings
        self._client: Client | None = None
        self._listeners: dict[Listener, None] = {}
        self._closing = False
        self._reviving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect to the first server that answers; raises `BrokerUnavailable` with the reason where none does."""
        self._closing = False
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
        client, self._client = self._client, None
        if client is not None:
            await _end(client)
        self._listeners.clear()

    @property
    def max_payload(self) -> int:
        """How many bytes the server takes at once."""
        return self._live().max_payload

    @property
    def version(self) -> tuple[int, int]:
        """The version of the server."""
        found = self._live().connected_server_version
        return found.major, found.minor

    def new_inbox(self) -> str:
        """Return a subject that nobody else uses."""
        return self._live().new_inbox()

    async def publish(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Write to the server without waiting for more than room in the buffer."""
        try:
            await self._live().publish(subject, data, reply, headers)
        except nats.errors.Error as error:
            raise self.unavailable(str(error)) from error

    async def request(self, subject: str, data: bytes, *, timeout: float) -> bytes:
        """Ask, and return the answer; raises `NoAnswer` where nobody listens, else `BrokerUnavailable`."""
        return (await self.ask(subject, data, timeout=timeout)).data

    async def ask(self, subject: str, data: bytes, *, timeout: float) -> Msg:
        """Ask, and return the answer with its headers."""
        try:
            async with asyncio.timeout(timeout):
                await self.up.wait()
                return await self._live().request(subject, data, timeout=timeout)
        except nats.errors.NoRespondersError as error:
            raise NoAnswer(f"nobody answers {subject}") from error
        except (TimeoutError, nats.errors.Error) as error:
            raise self.unavailable(f"{subject} was not answered within {timeout:g} s") from error

    async def listen(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Listener:
        """Call a function with every message of a subject from now on."""
        listener = Listener(subject, callback)
        self._listeners[listener] = None
        await self._subscribe(self._live(), listener)
        return listener

    async def ignore(self, listener: Listener, *, drain: bool = False) -> None:
        """Listen no more; with `drain`, returns when what the server had sent is passed on."""
        if self._listeners.pop(listener, self) is None and listener.subscription is not None:
            with suppress(nats.errors.Error, TimeoutError):
                if drain and self.up.is_set():
                    async with asyncio.timeout(self._settings.timeout):
                        await listener.subscription.drain()
                else:
                    await listener.subscription.unsubscribe()

    def unavailable(self, what: str) -> BrokerUnavailable:
        """Return the error that says what cannot be done, and what the connection last complained of."""
        why = f" ({self.problem})" if self.problem else ""
        return BrokerUnavailable(f"NATS at {', '.join(self._settings.servers)}: {what}{why}")

    def _live(self) -> Client:
        if self._client is None:
            raise self.unavailable("not connected: await connect() first")
        return self._client

    async def _subscribe(self, client: Client, listener: Listener) -> None:
        try:
            listener.subscription = await client.subscribe(listener.subject, cb=listener.callback)
        except nats.errors.Error as error:
            raise self.unavailable(str(error)) from error

    async def _connect(self) -> None:
        client = Client()
        try:
            await client.connect(**self._options(client))
        except BaseException as error:
            await _end(client)
            if isinstance(error, (nats.errors.Error, OSError, ValueError)):
                raise self.unavailable(str(error)) from error
            raise
        self._client = client
        for listener in self._listeners:
            await self._subscribe(client, listener)
        self._rise()

    def _options(self, client: Client) -> dict[str, Any]:
        settings = self._settings

        async def closed() -> None:
            if client is self._client and not self._closing and self._reviving is None:
                self.up.clear()
                self._reviving = asyncio.create_task(self._revive())

        async def lost() -> None:
            if client is self._client:
                self.up.clear()

        async def found() -> None:
            if client is self._client:
                self._rise()

        return {
            "servers": settings.servers,
            "name": "aats",
            "user": settings.user or None,
            "password": settings.password and settings.password.get_secret_value(),
            "token": settings.token and settings.token.get_secret_value(),
            "user_credentials": settings.credentials and str(settings.credentials),
            "tls": settings.tls and tls_context(settings.tls),
            "tls_hostname": (settings.tls and settings.tls.hostname) or None,
            "connect_timeout": settings.timeout,
            "ping_interval": max(1.0, settings.timeout / 2),
            "reconnect_time_wait": FIRST_DELAY,
            "reconnect_to_server_handler": _next_server,
            "max_reconnect_attempts": -1,
            "skip_subject_validation": True,
            "error_cb": self._complain,
            "disconnected_cb": lost,
            "reconnected_cb": found,
            "closed_cb": closed,
        }

    async def _complain(self, error: Exception) -> None:
        problem = str(error) or type(error).__name__
        if problem != self.problem:
            log.warning("NATS: %s", problem)
        self.problem = problem

    def _rise(self) -> None:
        self.problem = ""
        self.up.set()
        for call in self.on_up:
            call()

    async def _revive(self) -> None:
        """Connect anew after the driver has given up, which it does where a server refuses it once."""
        delay = FIRST_DELAY
        try:
            while not self.up.is_set():
                await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
                delay = min(2 * delay, LONGEST_DELAY)
                with suppress(BrokerError, TimeoutError):
                    async with asyncio.timeout(self._settings.timeout):
                        await self._connect()
        finally:
            self._reviving = None


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the context of encrypted connections; raises `BrokerError` that names a file that cannot be read."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.private_key)
    except OSError as error:
        files = ", ".join(str(file) for file in (tls.ca, tls.certificate, tls.private_key) if file)
        raise BrokerError(f"[broker] tls: {files}: {error}") from error
    return context


def _next_server(servers: list[Server], _info: dict[str, Any]) -> tuple[Server | None, float]:
    """Take the server that has failed least, after a delay that grows with its failures."""
    chosen = min(servers, key=lambda server: server.reconnects)
    if not chosen.reconnects:
        return chosen, 0.0
    delay = min(FIRST_DELAY * 2.0 ** min(chosen.reconnects, 16), LONGEST_DELAY)
    return chosen, delay * random.uniform(0.5, 1)  # noqa: S311 - spreads load, hides nothing


async def _end(client: Client) -> None:
    with suppress(Exception):  # the driver may raise anything of a connection that is lost already
        await client.close()
