"""What a task says of its request, and where it goes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from multidict import CIMultiDict
from yarl import URL

from aats_agent_http.settings import HttpSettings
from aats_core.errors import TaskFailed

NOT_IDEMPOTENT = frozenset({"POST", "PATCH"})
"""The methods that a server may carry out twice where it gets them twice (RFC 9110, section 9.2.2)."""

_SCHEMES = ("http", "https")
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of a task of kind `http.request`.

    `url` may be relative to the agent's `base_url`. The body is `json`, or `data`: text, or the fields of a form.
    `timeout` is in seconds. A status other than those of `expect` (by default 200 to 299) fails the task. With
    `idempotent: false` a POST or PATCH of which it is open whether it happened is not sent again: the task stops in
    state unknown; and no redirect of it is followed.
    """

    url: str
    method: Annotated[str, Meta(pattern=r"^[A-Za-z]+$")] = "GET"
    headers: dict[str, str] = {}
    params: dict[str, str | int | float | list[str]] = {}
    json: Any | UnsetType = UNSET
    data: str | dict[str, str] | None = None
    timeout: Annotated[float, Meta(gt=0)] | None = None
    expect: tuple[Annotated[int, Meta(ge=100, le=599)], ...] = ()
    max_body: Annotated[int, Meta(ge=0)] | None = None
    idempotent: bool = True

    def __post_init__(self) -> None:
        """Check that there is one body at most."""
        if self.json is not UNSET and self.data is not None:
            raise ValueError("a request has `json` or `data`, not both")

    def fine(self, status: int) -> bool:
        """Tell whether a response of that status is what the task is for."""
        return status in self.expect if self.expect else 200 <= status < 300


class Target(msgspec.Struct, frozen=True):
    """One request as it is sent, before or after a redirect; `private` headers are for its origin alone."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | dict[str, str] | None
    private: frozenset[str]

    def __str__(self) -> str:
        """Return method and address, without what may be a secret: user, password, query."""
        bare = self.url.with_query(None).with_fragment(None)
        return f"{self.method} {bare.with_user(None) if bare.host else bare}"

    def redirected(self, status: int, location: str) -> Target:
        """Return the request that follows a redirect; another origin gets no credentials (RFC 9110, section 15.4)."""
        try:
            url = self.url.join(URL(location))
        except ValueError as error:
            raise TaskFailed(f"{self}: redirected to what is not an address", retry=False) from error
        method, body, headers = self.method, self.body, self.headers.copy()
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", None
            headers.popall("Content-Type", None)
        if not _same_origin(url, self.url):
            for name in self.private:
                headers.popall(name, None)
        return Target(method, url, headers, body, self.private)


def first_target(request: Request, settings: HttpSettings, task: str) -> Target:
    """Return the request as it is sent first; raises `TaskFailed`, for good, where it cannot be sent."""
    method = request.method.upper()
    url = _address(request, settings.base_url)
    headers = CIMultiDict[str]()
    if settings.base_url is None or _same_origin(url, URL(str(settings.base_url))):
        headers.update({name: value.get_secret_value() for name, value in settings.headers.items()})
    if method in NOT_IDEMPOTENT:
        headers["Idempotency-Key"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"aats:{task}"))
    headers.update(request.headers)
    return Target(method, url, headers, _body(request, headers), _CREDENTIALS | set(settings.headers))


def _body(request: Request, headers: CIMultiDict[str]) -> bytes | dict[str, str] | None:
    """Return the body, and say of what type it is where the task does not."""
    if request.json is not UNSET:
        headers.setdefault("Content-Type", "application/json")
        return msgspec.json.encode(request.json)
    if isinstance(request.data, str):
        headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        return request.data.encode()
    return request.data


def check_allowed(target: Target, settings: HttpSettings) -> None:
    """Raise `TaskFailed`, for good, where the agent may not call that host."""
    url = target.url
    if url.scheme not in _SCHEMES or not url.host:
        raise TaskFailed(f"{target}: only http and https addresses can be called", retry=False)
    own = settings.base_url is not None and _same_origin(url, URL(str(settings.base_url)))
    if settings.allow is not None and not own and not _matches(url, settings.allow):
        allowed = ", ".join(settings.allow) or "none"
        raise TaskFailed(f"{target}: {url.host}:{url.port} is not among the allowed hosts: {allowed}", retry=False)


def _address(request: Request, base: object) -> URL:
    text = request.url
    try:
        url = URL(text)
        relative = not url.absolute and not url.scheme
        if relative and base is None:
            raise TaskFailed("its `url` is relative, and the agent has no `base_url`; write it whole", retry=False)
        if relative:
            url = URL(f"{str(base).rstrip('/')}/{text.lstrip('/')}")
        return url.update_query(request.params) if request.params else url
    except ValueError as error:
        raise TaskFailed(f"its `url` is not an address: {error}", retry=False) from error


def _same_origin(one: URL, other: URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _matches(url: URL, allow: Sequence[str]) -> bool:
    host = (url.host or "").lower().rstrip(".")
    for entry in allow:
        wanted, port = _host_and_port(entry.lower())
        fits = host.endswith(wanted[1:]) if wanted.startswith("*.") else host == wanted
        if fits and port in (None, url.port):
            return True
    return False


def _host_and_port(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and not host.endswith(":") and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(port)
    return entry.strip("[]"), None
