"""What the Unix socket of a team speaks: one JSON object a line, the operations being those of `Operations`.

A request is `{"id": 1, "op": "task", "args": {"id": "…"}}`. Its answer is `{"id": 1, "result": …}`, or
`{"id": 1, "error": {"type": "NotFound", "message": "…", "problems": []}}`. An operation that yields answers with any
number of `{"id": 1, "item": …}` and then `{"id": 1, "end": true}`; `{"id": 1, "stop": true}` ends a request early.
Requests of one connection begin in their order and are answered as they finish. An error whose id is null concerns the
connection, which is then closed.
"""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aats_core.error_body import ErrorBody
from aats_core.errors import InvalidRequest, StateError
from aats_core.operations import Operations

REQUEST_LIMIT = 16 * 1024 * 1024
"""Bytes of the longest request line that a team reads."""

_SOCKET = "aats.sock"
_LONGEST_ADDRESS = 107  # bytes of sockaddr_un.sun_path without its final zero


NOTHING = msgspec.Raw(b"null")

if TYPE_CHECKING:
    Value = Any
else:
    Value = msgspec.Raw  # what a client leaves undecoded until it knows the type; a team puts any value there


class Request(msgspec.Struct, omit_defaults=True):
    """One line from a client."""

    id: int
    op: str = ""
    args: msgspec.Raw = msgspec.Raw(b"{}")
    stop: bool = False


class Reply(msgspec.Struct, omit_defaults=True):
    """One line from a team; exactly one of `result`, `item`, `error` and `end` is there."""

    id: int | None
    result: Value = NOTHING
    item: Value = NOTHING
    error: ErrorBody | None = None
    end: bool = False


class Operation:
    """An operation as its method declares it: what its arguments and its result are."""

    def __init__(self, name: str, method: Callable[..., Any]) -> None:
        hints = typing.get_type_hints(method)
        self.name = name
        self.yields = inspect.isasyncgenfunction(method)
        returns = hints["return"]
        self.returns = typing.get_args(returns)[0] if self.yields else returns
        self.signature = inspect.signature(method)
        fields = [p for p in self.signature.parameters.values() if p.name != "self"]
        self._arguments = msgspec.defstruct(
            name,
            [(p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], p.default) for p in fields],
            forbid_unknown_fields=True,
        )

    def read(self, args: msgspec.Raw) -> dict[str, Any]:
        """Return the keyword arguments of a request; raises `InvalidRequest` where they do not fit."""
        try:
            values = msgspec.json.decode(args, type=self._arguments)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidRequest(f"{self.name}: {error}") from error
        return {name: getattr(values, name) for name in self._arguments.__struct_fields__}


def operations() -> dict[str, Operation]:
    """Return every operation by name: the public asynchronous methods of `Operations`."""
    return {
        name: Operation(name, method)
        for name, method in vars(Operations).items()
        if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }


@contextmanager
def socket_address(state_dir: Path) -> Iterator[str]:
    """Yield an address of the team's socket that the kernel takes, however long the path of its directory is.

    Raises `StateError` where the path is too long and the system has no other way to it, and `FileNotFoundError`
    where the directory is missing.
    """
    path = str(state_dir / _SOCKET)
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield path
        return
    if not Path("/proc/self/fd").is_dir():
        raise StateError(
            f"{path}: {len(os.fsencode(path))} bytes are too long for a socket, at most {_LONGEST_ADDRESS} are "
            "possible: set team.state_dir to a shorter path"
        )
    directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{_SOCKET}"
    finally:
        os.close(directory)


def socket_path(state_dir: Path) -> Path:
    """Return where the socket of a team lies."""
    return state_dir / _SOCKET
