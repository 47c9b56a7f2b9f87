"""How values and queries travel: Python's values as BSON's, and what has another name or form at the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any

import msgspec
from bson import Decimal128, Int64, Regex
from bson.codec_options import CodecOptions, TypeEncoder, TypeRegistry

from aats_core.query.values import normal

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


class _Decimals(TypeEncoder):
    """Decimals are `Decimal`s here and `Decimal128`s there."""

    python_type = Decimal

    def transform_python(self, value: Decimal) -> Decimal128:
        """Return what is sent."""
        return Decimal128(value)


CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC, type_registry=TypeRegistry([_Decimals()]))
"""Decimals are sent as such, dates come back in UTC; what else comes as the driver's own is `restored`."""

_RESTORE: dict[type, Callable[[Any], Any]] = {Int64: int, Decimal128: Decimal128.to_decimal}


class _Found(Exception):
    """There is a value of a type that only BSON has."""


def _tell(_: Any) -> Any:
    raise _Found


_look = msgspec.msgpack.Encoder(enc_hook=_tell).encode


def restored(value: Any) -> Any:
    """Return what was read with integers and decimals of Python's; other objects that only BSON has stay as they are.

    The driver can do so too, but asks for each value whether it has to, which takes more than all the rest of reading.
    To see that there is nothing to do an encoder is quicker than any loop.
    """
    try:
        _look(value)
    except _Found:
        return _restored(value)
    return value


def _restored(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return {name: _restored(item) for name, item in value.items()}
    if kind is list:
        return [_restored(item) for item in value]
    return _RESTORE[kind](value) if kind in _RESTORE else value


def sendable(query: Any) -> Any:
    """Return a filter, an update or an expression as the driver takes it."""
    if isinstance(query, Mapping):
        return _with_pattern(query) if "$regex" in query else {key: sendable(value) for key, value in query.items()}
    if isinstance(query, list | tuple):
        return [sendable(item) for item in query]
    if isinstance(query, re.Pattern):
        return Regex(query.pattern, _letters(query))
    return normal(query)


def _with_pattern(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of operators whose pattern is text, and whose options are beside it."""
    pattern = conditions["$regex"]
    rest = {key: sendable(value) for key, value in conditions.items() if key not in ("$regex", "$options")}
    options = conditions.get("$options") or (_letters(pattern) if isinstance(pattern, re.Pattern) else "")
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    return {**rest, "$regex": text, "$options": options}


def _letters(pattern: re.Pattern[str]) -> str:
    return "".join(letter for letter, flag in _FLAGS.items() if pattern.flags & flag)


def stages(pipeline: Sequence[Mapping[str, Any]], named: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return a pipeline as the driver takes it, with the full names of the collections that it looks into."""
    return [_stage(*next(iter(stage.items())), named) for stage in pipeline]


def _stage(name: str, operand: Any, named: Callable[[str], str]) -> dict[str, Any]:
    if name == "$lookup":
        return {name: {**operand, "from": named(operand["from"])}}
    if name == "$facet":
        return {name: {output: stages(pipeline, named) for output, pipeline in operand.items()}}
    return {name: sendable(operand)}
