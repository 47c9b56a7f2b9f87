"""A value of a plan file together with its place, read as the type that belongs there."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from datetime import date, time
from enum import StrEnum
from typing import Any, TypeVar

from aats_core.errors import InvalidRequest
from aats_core.plans.document import MAX_DEPTH, Former
from aats_core.plans.place import Problems, Where
from aats_core.plans.times import parse_deadline, parse_seconds

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)

_LARGEST = 2**63


class Node:
    """A value and its place. What does not fit is noted as a problem, and reads as `None`."""

    __slots__ = ("problems", "value", "where")

    def __init__(self, value: Any, where: Where, problems: Problems) -> None:
        self.value = value
        self.where = where
        self.problems = problems

    def wrong(self, text: str) -> None:
        """Note that something is wrong here."""
        self.problems.add(self.where, text)

    def child(self, step: str | int) -> Node:
        """Return the node of a key or an index that is known to be there."""
        return Node(self.value[step], (*self.where, step), self.problems)

    def fields(self, known: Collection[str], *, what: str) -> dict[str, Node]:
        """Return the nodes of a mapping by their keys; an unknown key is a problem."""
        found = {key: node for key, node in (self.entries() or {}).items() if not isinstance(key, Former)}
        for key in [key for key in found if key not in known]:
            found.pop(key).wrong(f"{what} has no such key{self.problems.hint(key, known)}")
        return found

    def entries(self) -> dict[str, Node] | None:
        """Return the nodes of a mapping with any keys."""
        if not self._must("be a mapping of keys to values", fits=isinstance(self.value, dict)):
            return None
        return {key: self.child(key) for key in self.value}

    def items(self, *, what: str) -> list[Node] | None:
        """Return the nodes of a list."""
        if not self._must(f"be a list of {what}", fits=isinstance(self.value, list)):
            return None
        return [self.child(index) for index in range(len(self.value))]

    def text(self) -> str | None:
        """Return text."""
        fits = isinstance(self.value, str)
        if not self._must("be text", fits=fits) or not self._must("be whole characters", fits=_encodable(self.value)):
            return None
        return str(self.value)

    def integer(self) -> int | None:
        """Return a whole number."""
        value = self.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
        return int(value) if self._must("be a whole number", fits=fits) else None

    def number(self) -> float | None:
        """Return a finite number."""
        fits = isinstance(self.value, int | float) and not isinstance(self.value, bool) and _portable(self.value)
        return float(self.value) if self._must("be a number", fits=fits) else None

    def seconds(self) -> float | None:
        """Return a length of time in seconds."""
        return self._parse(parse_seconds)

    def deadline(self, now: float) -> float | None:
        """Return a Unix time; lengths count from `now`."""
        return self._parse(lambda value: parse_deadline(value, now=now))

    def choice(self, choices: type[Choice]) -> Choice | None:
        """Return one of the values of an enumeration."""
        fits = isinstance(self.value, str) and self.value in set(choices)
        return choices(self.value) if self._must(f"be one of {', '.join(choices)}", fits=fits) else None

    def plain(self) -> Any:
        """Return a value that JSON can carry: dates become text, and what JSON cannot carry is a problem."""
        return _read_plain(self, 0)

    def _parse(self, parse: Callable[[Any], T]) -> T | None:
        try:
            return parse(self.value)
        except InvalidRequest as error:
            self.wrong(str(error))
            return None

    def _must(self, be: str, *, fits: bool) -> bool:
        if not fits:
            self.wrong(f"is empty, must {be}" if self.value is None else f"must {be}")
        return fits


def _read_plain(node: Node, depth: int) -> Any:
    value = node.value
    if isinstance(value, dict | list):
        return _read_nested(node, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return node.text()
    if isinstance(value, date | time):
        return value.isoformat()
    if not isinstance(value, int | float) or not _portable(value):
        node.wrong("is nothing that JSON can carry")
    return value


def _read_nested(node: Node, depth: int) -> Any:
    value = node.value
    if depth >= MAX_DEPTH:
        node.wrong(f"is nested more than {MAX_DEPTH} levels deep")
        return None
    if isinstance(value, list):
        return [_read_plain(node.child(index), depth + 1) for index in range(len(value))]
    for key in value:
        if not _encodable(key):
            node.wrong("has a key that is not whole characters")
    return {key: _read_plain(node.child(key), depth + 1) for key in value}


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _portable(value: float) -> bool:
    return -_LARGEST <= value < 2 * _LARGEST if isinstance(value, int) else math.isfinite(value)
