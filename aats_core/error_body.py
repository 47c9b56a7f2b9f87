"""Errors on their way from one process to another."""

from __future__ import annotations

import inspect

import msgspec

from aats_core import errors
from aats_core.errors import AatsError, Refused


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """An error as it travels: the name of its class in `aats_core.errors`, and what it says."""

    type: str
    message: str
    problems: tuple[str, ...] = ()


def describe(error: AatsError) -> ErrorBody:
    """Return an error as it travels, under the nearest of its classes that every client knows."""
    known = next(cls for cls in type(error).__mro__ if getattr(errors, cls.__name__, None) is cls)
    return ErrorBody(known.__name__, str(error), tuple(getattr(error, "problems", ())))


def revive(body: ErrorBody) -> AatsError:
    """Return the error that travelled, as an instance of its own class."""
    cls = getattr(errors, body.type, AatsError)
    if not (inspect.isclass(cls) and issubclass(cls, AatsError)):
        cls = AatsError
    error: AatsError = cls.__new__(cls)
    AatsError.__init__(error, body.message)
    if isinstance(error, Refused):
        error.problems = body.problems
    return error
