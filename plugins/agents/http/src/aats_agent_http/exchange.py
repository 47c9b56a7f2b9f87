"""One exchange with a server: a request, the redirects that it leads to, and the response within its bounds."""

from __future__ import annotations

import time
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec

from aats_agent_http.request import Target, check_allowed
from aats_agent_http.settings import HttpSettings
from aats_core.errors import TaskFailed

MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LATER = frozenset({429, 503})
"""The statuses with which a server may say when to come back."""


class Response(msgspec.Struct, frozen=True):
    """What the server answered; names of headers are in small letters."""

    target: Target
    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    charset: str

    @property
    def text(self) -> str:
        """The body as text; what is not in its charset is replaced."""
        try:
            return self.body.decode(self.charset, errors="replace")
        except LookupError:
            return self.body.decode(errors="replace")

    def content(self) -> dict[str, Any]:
        """Return the body under `json` where the server says that it is JSON, and it is, and else under `body`."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return {"json": msgspec.json.decode(self.body)}
            except (ValueError, RecursionError):
                pass  # then it is text, whatever the server says
        return {"body": self.text}

    def retry_after(self, now: float) -> float | None:
        """Return how many seconds later the server wants to be asked again, if it says so (RFC 9110, 10.2.3)."""
        value = self.headers.get("retry-after", "") if self.status in LATER else ""
        try:
            seconds = float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            return None
        return max(seconds, 1.0)


async def exchange(
    session: aiohttp.ClientSession,
    target: Target,
    settings: HttpSettings,
    *,
    timeout: float,
    max_body: int,
    final: Collection[int],
) -> Response:
    """Send a request and return the response, following redirects but those of a status that is final.

    Raises `TaskFailed` where a host is not allowed or the body too long, and what aiohttp raises.
    """
    deadline = time.monotonic() + timeout
    for _ in range(MAX_REDIRECTS + 1):
        check_allowed(target, settings)
        async with session.request(
            target.method,
            target.url,
            headers=target.headers,
            data=target.body,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=max(deadline - time.monotonic(), 0.001)),
        ) as response:
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or response.status in final or location is None:
                return await _read(response, target, max_body)
        target = target.redirected(response.status, location)
    raise TaskFailed(f"{target}: more than {MAX_REDIRECTS} redirects", retry=False)


async def _read(response: aiohttp.ClientResponse, target: Target, max_body: int) -> Response:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > max_body:
            raise TaskFailed(f"{target}: the response has more than the {max_body} bytes of `max_body`", retry=False)
    names = {name.lower() for name in response.headers}
    headers = {name: ", ".join(response.headers.getall(name)) for name in sorted(names)}
    return Response(target, response.status, response.reason or "", headers, bytes(body), response.charset or "utf-8")
