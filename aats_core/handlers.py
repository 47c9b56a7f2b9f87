"""Handlers: what the decorators on an agent's methods declare, and how a payload is fitted to their annotations."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, Never, NoReturn, TypeVar, cast, get_type_hints

import msgspec
import pydantic

from aats_core.errors import InvalidPayload, WiringError
from aats_core.message import Message

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
HandlerKind = Literal["on", "subscribe", "task"]

_MARK = "__aats_handles__"


def on(type: str) -> Callable[[F], F]:
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

_SCALARS = (bool, int, float, str)


class Handler(Generic[C]):
    """A method with its schema: `call` fits the payload, runs the method and fits what it returns.

    A parameter annotated with the context's type gets the context, one annotated `Message` the envelope. The one
    that is left takes the payload, and where it has a default a message without payload will do; several, or
    keyword-only ones, take the payload apart by name. An instance of the annotated class is handed over as it is,
    everything else is checked. `doc` is the method's docstring.
    """

    __slots__ = (
        "_accepts", "_by_name", "_decode", "_direct", "_exact", "_extra", "_method", "_optional", "_parameter",
        "_returns", "doc", "kind", "name",
    )  # fmt: skip

    def __init__(
        self, kind: HandlerKind, name: str, method: Callable[..., Awaitable[Any]], context: type | None
    ) -> None:
        where = method.__qualname__
        self.kind = kind
        self.name = name
        self.doc = inspect.getdoc(method) or ""
        self._method = method
        hints = _hints(method, where)
        parameters = list(inspect.signature(method).parameters.values())[1:]
        self._extra = tuple((p.name, hints[p.name]) for p in parameters if _is_special(hints.get(p.name), context))
        fields = [p for p in parameters if not _is_special(hints.get(p.name), context)]
        self._by_name = len(fields) > 1 or any(p.kind is p.KEYWORD_ONLY for p in fields)
        self._parameter = fields[0].name if fields else ""
        self._optional = len(fields) == 1 and fields[0].default is not inspect.Parameter.empty
        self._accepts = _payload_type(where, fields, hints, by_name=self._by_name)
        self._exact = self._accepts if inspect.isclass(self._accepts) else None
        self._direct = not self._extra and not self._by_name
        self._decode = _decoder(self._accepts, where)
        self._returns = _return_type(hints.get("return", Any), where)

    def call(self, agent: object, message: Message, context: C) -> Awaitable[Any]:
        """Return the handler's coroutine; raises `InvalidPayload`, and runs nothing, where the payload does not fit."""
        payload = message.payload
        if self._direct and payload.__class__ is self._exact:
            return self._method(agent, payload)
        arguments = self._arguments(payload)
        for name, kind in self._extra:
            arguments[name] = message if kind is Message else context
        return self._method(agent, **arguments)

    def check_result(self, result: Any) -> Any:
        """Return what the handler returned, as its annotation says; raises `InvalidPayload` where it does not fit."""
        returns = self._returns
        if result.__class__ is returns or returns is Any:
            return result
        try:
            return _convert(result, returns)
        except (ValueError, RecursionError) as error:
            raise InvalidPayload(
                f"{self.name} returned something that its annotation does not allow: {_reason(error)}"
            ) from error

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the payload; raises `WiringError` where JSON cannot carry the annotated type."""
        if self._accepts is None:
            return {"type": "null"}
        if _is_pydantic(self._accepts):
            return cast("dict[str, Any]", self._accepts.model_json_schema())
        try:
            return msgspec.json.schema(self._accepts, schema_hook=_other_schema)
        except TypeError as error:
            raise WiringError(f"{self._method.__qualname__}: no schema of its payload: {_reason(error)}") from error

    def _arguments(self, payload: Any) -> dict[str, Any]:
        """Return the payload as keyword arguments."""
        accepts = self._accepts
        if accepts is None or (payload is None and self._optional):
            return {}
        if payload.__class__ is not self._exact:
            try:
                payload = self._decode(payload) if payload.__class__ is msgspec.Raw else _convert(payload, accepts)
            except (ValueError, RecursionError) as error:
                hint = f"; the payload itself is {self._parameter!r}" if self._exact in _SCALARS else ""
                raise InvalidPayload(f"{self.name}: {_reason(error)}{hint}") from error
        return msgspec.structs.asdict(payload) if self._by_name else {self._parameter: payload}


def collect(cls: type, context: type | None) -> dict[tuple[HandlerKind, str], Handler[Any]]:
    """Return the handlers that a class and its bases declare, by kind and name; a subclass's replaces its bases'.

    Raises `WiringError` where two methods of one class handle the same, a handler is not an `async def`, or its
    annotations cannot be checked.
    """
    found: dict[tuple[HandlerKind, str], Handler[Any]] = {}
    seen: set[str] = set()
    for owner in cls.__mro__:
        mine: dict[tuple[HandlerKind, str], Handler[Any]] = {}
        for attribute, method in vars(owner).items():
            for kind, name in () if attribute in seen else getattr(method, _MARK, ()):
                if not inspect.iscoroutinefunction(method):
                    raise WiringError(f"{owner.__name__}.{attribute}: a handler is an `async def` method")
                if (kind, name) in mine:
                    raise WiringError(f"{owner.__name__}: two methods handle {kind} {name!r}")
                mine[kind, name] = Handler(kind, name, method, context)
        found = {**mine, **found}
        seen.update(vars(owner))
    return found


def _convert(value: Any, accepts: Any) -> Any:
    if _is_pydantic(accepts):
        return accepts.model_validate(value)
    return msgspec.convert(value, type=accepts, from_attributes=True, dec_hook=_fit_other)


def _decoder(accepts: Any, where: str) -> Callable[[Any], Any]:
    """Return what makes undecoded JSON a value of that type."""
    if _is_pydantic(accepts):
        return lambda raw: accepts.model_validate_json(bytes(raw))
    try:
        return msgspec.json.Decoder(accepts, dec_hook=_fit_other).decode
    except TypeError as error:
        raise WiringError(f"{where}: {_reason(error)}; annotate it so that it can be checked") from error


def _fit_other(accepts: Any, value: Any) -> Any:
    """Fit a value to a class that msgspec does not know."""
    if isinstance(value, accepts):
        return value
    if not _is_pydantic(accepts):
        raise ValueError(f"Expected `{accepts.__name__}`, got `{type(value).__name__}`")
    try:
        return accepts.model_validate(value)
    except pydantic.ValidationError as error:
        raise ValueError(_reason(error)) from error


def _other_schema(accepts: Any) -> dict[str, Any]:
    if not _is_pydantic(accepts):
        raise NotImplementedError
    return {"$id": accepts.__name__, **accepts.model_json_schema()}


def _reason(error: Exception) -> str:
    """Return what is wrong in one line, without the value itself, which may be a secret."""
    if not isinstance(error, pydantic.ValidationError):
        return " ".join(str(error).split())
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{p['msg']} - at `{'.'.join(['$', *map(str, p['loc'])])}`" for p in problems)


def _hints(method: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return get_type_hints(method, include_extras=True)
    except (NameError, TypeError) as error:
        raise WiringError(f"{where}: an annotation cannot be read: {error}; import what it names") from error


def _is_special(hint: Any, context: type | None) -> bool:
    return hint is Message or (context is not None and hint is context)


def _is_pydantic(hint: Any) -> bool:
    return hasattr(hint, "model_validate") and not isinstance(hint, types.GenericAlias)


def _payload_type(where: str, fields: list[inspect.Parameter], hints: dict[str, Any], *, by_name: bool) -> Any:
    if not fields:
        return None
    missing = [p.name for p in fields if p.name not in hints]
    if missing:
        raise WiringError(f"{where}: annotate {', '.join(missing)}, handlers are checked by their annotations")
    odd = [str(p) for p in fields if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if odd:
        raise WiringError(f"{where}: a payload cannot be taken apart into {', '.join(odd)}; name each parameter")
    if not by_name:
        return hints[fields[0].name]
    members = [(p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], p.default) for p in fields]
    try:
        return msgspec.defstruct(where.rpartition(".")[2], members, kw_only=True)
    except TypeError as error:
        raise WiringError(f"{where}: {error}") from error


def _return_type(returns: Any, where: str) -> Any:
    if returns in (Never, NoReturn):
        return Any
    if not _is_pydantic(returns):
        _decoder(returns, f"{where} returns")
    return returns
