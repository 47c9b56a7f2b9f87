"""Addresses of servers as settings name them: one that cannot be meant is refused, and shown in no message."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

LAST_PORT = 65_535


def parse_url(address: str, example: str, *schemes: str, path: bool = False) -> SplitResult:
    """Return the parts of a server's URL: of one of the schemes, with a host, and with a path only where there may be.

    Raises `ValueError` that says what is wrong, with an example of what is expected, and tells nothing of the URL: user
    and password may be anywhere in it.
    """
    try:
        parts = urlsplit(address)
        begins_well = parts.scheme in schemes and address[len(parts.scheme) :].startswith("://")
        wrong = _fault(parts, path=path) if begins_well else f"it has to begin with {_either(schemes)}"
    except ValueError:  # its words may hold a part of the address
        wrong = f"host and port are not valid (the port is a number up to {LAST_PORT})"
    if wrong:
        raise ValueError(f"{wrong}; an address looks like {example}")
    return parts


def _either(schemes: Collection[str]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)


def _fault(parts: SplitResult, *, path: bool) -> str:
    if "@" in parts.netloc:
        return "user and password are settings of their own and no part of it"
    if not parts.hostname or set(parts.hostname) & set(" ,") or parts.port == 0:
        return "exactly one host is needed, and a port from 1 on"
    if parts.query or parts.fragment or (parts.path.strip("/") and not path):
        return f"nothing may follow {'its path' if path else 'host and port'}"
    return ""


def server_url(example: str, *schemes: str, path: bool = False) -> AfterValidator:
    """Return what has a field hold the URL of a server, as `parse_url` wants it."""

    def check(address: str) -> str:
        parse_url(address, example, *schemes, path=path)
        return address

    return AfterValidator(check)
