"""The agent that calls HTTP services."""

from __future__ import annotations

import ssl
from typing import Any, NotRequired, TypedDict

import aiohttp

from aats_agent_http.exchange import REDIRECTS, Response, exchange
from aats_agent_http.request import NOT_IDEMPOTENT, Request, Target, first_target
from aats_agent_http.settings import HttpSettings
from aats_core.agent import Agent, TaskContext
from aats_core.errors import EffectUnknown, SettingsError, TaskFailed
from aats_core.handlers import task
from aats_core.secrets import redact, remember

EXCERPT = 500
"""Characters of a response's body that an error shows."""

_AGAIN = frozenset({408, 425, 429})
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.InvalidURL)


class Output(TypedDict):
    """The output of a task: the status, the headers by their names in small letters, and the seconds that it took.

    What the server sent is under `json`, parsed, where the server says that it is JSON, and else under `body`, as text.
    """

    status: int
    headers: dict[str, str]
    seconds: float
    json: NotRequired[Any]
    body: NotRequired[str]


class Http(Agent):
    """Runs tasks that call HTTP services."""

    Settings = HttpSettings

    _session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Get ready to connect; no connection is opened yet."""
        if self._session is None:
            settings: HttpSettings = self.settings
            for value in settings.headers.values():
                remember(value.get_secret_value())
                remember(value.get_secret_value().rpartition(" ")[2])  # what follows `Bearer`
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=settings.connections, ssl=_trust(settings)),
                cookie_jar=aiohttp.DummyCookieJar(),
            )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    @task("http.request")
    async def call(self, payload: Request, ctx: TaskContext) -> Output:
        """Send a request and return the response."""
        target = first_target(payload, self.settings, ctx.id)

        async def send() -> Output:
            return await self._send(target, payload, ctx)

        if target.method not in NOT_IDEMPOTENT:
            return await send()
        output: Output = await ctx.effects.once("request", send, idempotent=payload.idempotent)
        return output

    async def _send(self, target: Target, payload: Request, ctx: TaskContext) -> Output:
        """Send the request, again where the server says when, and return what came of it."""
        began = ctx.clock.monotonic()
        waited = 0.0
        while True:
            response = await self._exchange(target, payload)
            delay = None if payload.fine(response.status) else response.retry_after(ctx.clock.time())
            if delay is None or waited + delay > self.settings.max_wait:
                break
            await ctx.report(f"{target.url.host} asks to wait {delay:g} s")
            await ctx.clock.sleep(delay)
            waited += delay
        output: Output = {
            "status": response.status,
            "headers": response.headers,
            "seconds": round(ctx.clock.monotonic() - began, 6),
            **response.content(),  # type: ignore[typeddict-item] # json or body
        }
        if not payload.fine(response.status):
            raise _unexpected(response, payload, output)
        return output

    async def _exchange(self, target: Target, payload: Request) -> Response:
        assert self._session is not None
        settings: HttpSettings = self.settings
        timeout = settings.timeout if payload.timeout is None else payload.timeout
        max_body = settings.max_body if payload.max_body is None else payload.max_body
        final = REDIRECTS if _only_once(target, payload) else payload.expect
        try:
            return await exchange(self._session, target, settings, timeout=timeout, max_body=max_body, final=final)
        except TimeoutError as error:
            raise _lost(f"{target}: no answer within {timeout:g} s", target, payload) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            what = redact(f"{target}: {_words(error)}")
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                raise TaskFailed(f"{what}; the setting `ca` names whom to trust", retry=False) from error
            if isinstance(error, ValueError):
                raise TaskFailed(what, retry=False) from error
            if isinstance(error, _NEVER_SENT):
                raise TaskFailed(what) from error
            raise _lost(what, target, payload) from error


def _only_once(target: Target, payload: Request) -> bool:
    return target.method in NOT_IDEMPOTENT and not payload.idempotent


def _lost(what: str, target: Target, payload: Request, output: Output | None = None) -> Exception:
    """Return the error for a request of which it is open whether the server carried it out."""
    if _only_once(target, payload):
        return EffectUnknown(f"{what}; it is open whether the server carried it out: look there and settle the task")
    return TaskFailed(what, output=output)


def _unexpected(response: Response, payload: Request, output: Output) -> Exception:
    """Return the error for a status that is not what the task is for."""
    status, excerpt = response.status, " ".join(response.text[:EXCERPT].split())
    what = redact(f"{response.target}: status {status} {response.reason}{': ' if excerpt else ''}{excerpt}")
    if status >= 500 and status != 503:
        return _lost(what, response.target, payload, output)
    return TaskFailed(what, retry=status == 503 or status in _AGAIN, output=output)


def _words(error: Exception) -> str:
    """Return what a library says, without the address, which the message has already and may hold a secret."""
    if isinstance(error, aiohttp.InvalidURL):
        return f"not an address: {error.description or ''}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _trust(settings: HttpSettings) -> ssl.SSLContext | bool:
    if not settings.verify:
        return False
    if settings.ca is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(settings.ca)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"ca: {settings.ca} cannot be used: {error}; name a PEM file of certificates") from error
    return context
