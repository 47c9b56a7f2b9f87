"""Handlers: what the decorators on an agent's methods declare, and how a payload is fitted to their annotations."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from aats_core.errors import InvalidPayload, WiringError
from aats_core.message import Message

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
HandlerKind = Literal["on", "subscribe", "task"]

_MARK = "__aats_handles__"
_EXACT = (str, int, float, bool, bytes, type(None))


def on(type: str) -> Callable[[F], F]:  # noqa: A002 - the standard name
    """Mark a method as the handler of messages of that type; what it returns answers a request."""
    return _marker("on", type)


def subscribe(topic: str) -> Callable[[F], F]:
    """Mark a method as the handler of what is published to a topic; `*` stands for any one word of it.

    Processes and replicas that run the same agent share the messages.
    """
    return _marker("subscribe", topic)


def task(kind: str) -> Callable[[F], F]:
    """Mark a method as what runs tasks of that kind; what it returns is the task's output."""
    return _marker("task", kind)


def _marker(handles: HandlerKind, name: str) -> Callable[[F], F]:
    if not name:
        raise WiringError(f"@{handles} needs a name")

    def mark(function: F) -> F:
        setattr(function, _MARK, (*getattr(function, _MARK, ()), (handles, name)))
        return function

    return mark


C = TypeVar("C")


class Handler(Generic[C]):
    """A method with its schema: `call` fits the payload, runs the method and fits what it returns.

    The first parameter takes the payload. A parameter annotated with the context's type gets the context, one
    annotated `Message` the envelope. Several other parameters take the payload apart by name.
    """

    __slots__ = ("_accepts", "_exact", "_extra", "_fields", "_method", "_returns", "kind", "name")

    def __init__(
        self, kind: HandlerKind, name: str, method: Callable[..., Awaitable[Any]], context: type | None
    ) -> None:
        self.kind = kind
        self.name = name
        self._method = method
        hints = typing.get_type_hints(method)
        parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
        special = {p.name: hints[p.name] for p in parameters if _is_special(hints.get(p.name), context)}
        self._extra = tuple(special.items())
        fields = [p for p in parameters if p.name not in special]
        self._fields = len(fields) > 1
        self._accepts = _payload_type(method.__name__, fields, hints)
        self._exact = self._accepts if self._accepts in _EXACT or _is_struct(self._accepts) else None
        self._returns = hints.get("return", Any)

    def call(self, agent: object, message: Message, context: C) -> Awaitable[Any]:
        """Return the handler's coroutine; raises `InvalidPayload`, and runs nothing, where the payload does not fit."""
        payload = message.payload
        accepts = self._accepts
        if accepts is None:
            arguments: tuple[Any, ...] = ()
        elif payload.__class__ is self._exact:
            arguments = (payload,)
        else:
            payload = fit(message, accepts, self.name)
            arguments = (
                tuple(getattr(payload, n) for n in payload.__struct_fields__) if self._fields else (payload,)
            )
        if self._extra:
            extra = {n: message if t is Message else context for n, t in self._extra}
            return self._method(agent, *arguments, **extra)
        return self._method(agent, *arguments)

    def check_result(self, result: Any) -> Any:
        """Return what the handler returned, as its annotation says; raises `InvalidPayload` where it does not fit."""
        returns = self._returns
        if result.__class__ is returns or returns is Any:
            return result
        try:
            return convert(result, returns)
        except msgspec.ValidationError as error:
            raise InvalidPayload(
                f"{self.name} returned something that its annotation does not allow: {error}"
            ) from error

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the payload."""
        if self._accepts is None:
            return {"type": "null"}
        if _is_pydantic(self._accepts):
            return typing.cast(dict[str, Any], self._accepts.model_json_schema())
        return msgspec.json.schema(self._accepts)


def collect(cls: type, context: type | None) -> dict[tuple[HandlerKind, str], Handler[Any]]:
    """Return the handlers that a class and its bases declare, by kind and name; a subclass's come first."""
    found: dict[tuple[HandlerKind, str], Handler[Any]] = {}
    for attribute in dir(cls):
        method = inspect.getattr_static(cls, attribute)
        for kind, name in getattr(method, _MARK, ()):
            if not inspect.iscoroutinefunction(method):
                raise WiringError(f"{cls.__name__}.{attribute}: a handler is an `async def`")
            if (kind, name) in found:
                raise WiringError(f"{cls.__name__}: two methods handle {kind} {name!r}")
            found[kind, name] = Handler(kind, name, method, context)
    return found


def fit(message: Message, accepts: Any, name: str) -> Any:
    """Return the payload as that type; raises `InvalidPayload` where it does not fit."""
    try:
        if message.payload.__class__ is not msgspec.Raw:
            return convert(message.payload, accepts)
        if _is_pydantic(accepts):
            return accepts.model_validate_json(bytes(message.payload))
        return msgspec.json.decode(message.payload, type=accepts)
    except ValueError as error:
        raise InvalidPayload(f"{name}: {error}") from error


def convert(value: Any, accepts: Any) -> Any:
    """Return a value as that type; raises `ValueError` (`msgspec.ValidationError` is one) where it does not fit."""
    if _is_pydantic(accepts):
        return accepts.model_validate(value)
    if inspect.isclass(accepts) and isinstance(value, accepts) and not isinstance(value, dict | list):
        return value
    return msgspec.convert(value, type=accepts, from_attributes=True)


def _is_special(hint: Any, context: type | None) -> bool:
    return hint is Message or (context is not None and hint is context)


def _is_struct(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, msgspec.Struct)


def _is_pydantic(hint: Any) -> bool:
    return hasattr(hint, "model_validate") and not isinstance(hint, types.GenericAlias)


def _payload_type(where: str, fields: list[inspect.Parameter], hints: dict[str, Any]) -> Any:
    if not fields:
        return None
    missing = [p.name for p in fields if p.name not in hints]
    if missing:
        raise WiringError(
            f"{where}: annotate {', '.join(missing)}, handlers are checked by their annotations"
        )
    if len(fields) == 1:
        return hints[fields[0].name]
    return msgspec.defstruct(
        where,
        [
            (p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], p.default)
            for p in fields
        ],
    )
