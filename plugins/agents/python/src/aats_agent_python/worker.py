"""What runs in a worker process: takes one call after the other from a socket, and answers each.

It runs as a script and ends when the socket does. Requests and answers are JSON with their length before them, on a
file descriptor of their own, so that whatever a function prints disturbs nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import socket
import struct
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

LENGTH = struct.Struct("!Q")
LONGEST = 20_000
"""Characters of a message or a traceback that are passed on."""


class Request(msgspec.Struct, frozen=True):
    """Call that function; `about` goes into the environment."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]
    allow: list[str] | None
    max_result: int
    about: dict[str, str]


class Answer(msgspec.Struct, frozen=True):
    """What came of a call: a result, or an error with its type (empty where nothing was called) and traceback."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    ok: bool = True
    type: str = ""
    message: str = ""
    traceback: str = ""
    retry: bool = False
    output: msgspec.Raw = msgspec.Raw(b"null")


class CannotCall(Exception):
    """The call cannot be made, or its result not be passed on; trying again would not help."""


def main() -> None:
    """Answer calls until the socket closes."""
    sys.path[:0] = sys.argv[2:]
    requests = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(requests.fileno(), False)  # noqa: FBT003 - its only signature
    stream = requests.makefile("rwb")
    while len(head := stream.read(LENGTH.size)) == LENGTH.size:
        request = msgspec.json.decode(stream.read(*LENGTH.unpack(head)), type=Request)
        answer = msgspec.json.encode(respond(request))
        stream.write(LENGTH.pack(len(answer)) + answer)
        stream.flush()


def respond(request: Request) -> Answer:
    """Make a call; whatever the function does short of ending the process becomes an answer."""
    os.environ.update(request.about)
    try:
        function = resolve(request.function, request.allow)
        check_arguments(function, request)
        result = function(*request.args, **request.kwargs)
        if inspect.isawaitable(result):
            result = asyncio.run(_wait_for(result))
        return Answer(result=msgspec.Raw(encoded(result, request)))
    except CannotCall as error:
        return Answer(ok=False, message=str(error))
    except BaseException as error:  # noqa: BLE001 - contained: the caller is told of it
        return _failure(error)


def resolve(name: str, allow: Sequence[str] | None) -> Callable[..., Any]:
    """Import and return the function `module:name`; raises `CannotCall` where there is none or it is not allowed."""
    module, _, path = name.partition(":")
    _check_allowed(module, allow, name)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module exists, but imports another that does not
        raise CannotCall(f"{name}: there is no module {error.name!r}; install it, or name its `path`") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise CannotCall(f"{name}: {module} has no {path}")
        found = getattr(found, part)
    if not callable(found):
        raise CannotCall(f"{name} is a {type(found).__name__}, not a function")
    _check_allowed(getattr(found, "__module__", None) or "", allow, name)
    return found  # type: ignore[no-any-return] # callable, as checked above


def _check_allowed(module: str, allow: Sequence[str] | None, name: str) -> None:
    if allow is not None and not any(f"{module}.".startswith(f"{prefix}.") for prefix in allow):
        raise CannotCall(f"{name} is not allowed, being of module {module!r}; allowed: {', '.join(allow) or 'nothing'}")


def check_arguments(function: Callable[..., Any], request: Request) -> None:
    """Raise `CannotCall` where the function does not take these arguments; a function that does not say takes any."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*request.args, **request.kwargs)
    except TypeError as error:
        raise CannotCall(f"{request.function}{signature} does not take these arguments: {error}") from error


def encoded(result: Any, request: Request) -> bytes:
    """Return the result as JSON; raises `CannotCall` where JSON cannot carry it or it is too long."""
    try:
        data = msgspec.json.encode(result, enc_hook=_dump)
    except (TypeError, ValueError, RecursionError) as error:
        raise CannotCall(f"{request.function} returned what JSON cannot carry: {error}") from error
    if len(data) > request.max_result:
        raise CannotCall(
            f"{request.function} returned {len(data)} bytes of JSON, more than the {request.max_result} of `max_result`"
        )
    return data


def _dump(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a value of type {type(value).__name__}")
    return dump(mode="json")


async def _wait_for(result: Awaitable[Any]) -> Any:
    return await result


def _failure(error: BaseException) -> Answer:
    """Return what a function raised; a `TaskFailed` keeps what it says of another attempt and of the output."""
    errors: Any = sys.modules.get("aats_core.errors")
    told = errors is not None and isinstance(error, errors.TaskFailed)
    kind = type(error)
    lines = traceback.format_exception(kind, error, error.__traceback__ and error.__traceback__.tb_next)
    message = f"sys.exit({error.code!r})" if isinstance(error, SystemExit) else _text_of(error)
    return Answer(
        ok=False,
        type=kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        message=message[:LONGEST],
        traceback="".join(lines)[-LONGEST:],
        retry=bool(getattr(error, "retry", True)) if told else True,
        output=_output_of(error) if told else msgspec.Raw(b"null"),
    )


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - contained: an error that cannot be printed is still an error
        return f"(its text cannot be had: {type(broken).__name__})"


def _output_of(error: BaseException) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(getattr(error, "output", None), enc_hook=_dump))
    except (TypeError, ValueError, RecursionError):
        return msgspec.Raw(b"null")


if __name__ == "__main__":
    main()
