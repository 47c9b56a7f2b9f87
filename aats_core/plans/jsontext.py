"""JSON text as a document."""

from __future__ import annotations

import json
import re
from typing import Any

from aats_core.plans.document import Document, Duplicate, Malformed, keep_former
from aats_core.plans.place import Marks

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]|\n|[^\s{}\[\],:"]+')


def decode_json(text: str) -> Document:
    """Decode JSON, as strictly as its standard but for NaN and infinities; raises `Malformed`.

    Keys that an object has twice are found too. Lines are looked up only when they are asked for.
    """
    twice = False

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        built = dict(pairs)
        if len(built) == len(pairs):
            return built
        twice, built = True, {}
        for key, item in pairs:
            if key in built:
                keep_former(built, key)
            built[key] = item
        return built

    try:
        value = json.loads(text, object_pairs_hook=build)
    except json.JSONDecodeError as error:
        raise Malformed(f"is not valid JSON: {error.msg} (column {error.colno})", error.lineno) from error
    except RecursionError as error:
        raise Malformed("is nested too deeply") from error
    except ValueError as error:
        raise Malformed("has a number of too many digits") from error
    return Document(value, lambda: _Scan(text).marks, _Scan(text).duplicates if twice else ())


class _Scan:
    """Finds the line of every key and item in text that is known to be valid JSON."""

    def __init__(self, text: str) -> None:
        self.marks: Marks = {}
        self.duplicates: list[Duplicate] = []
        self._open: list[tuple[Marks, bool]] = []
        self._steps: list[str | int] = []
        self._line = 1
        for word in _TOKEN.findall(text):
            if word == "\n":
                self._line += 1
            elif word in "]}":
                self._open.pop()
                self._end_value()
            elif word not in ",:":
                self._take(word)

    def _take(self, word: str) -> None:
        if self._open and len(self._steps) < len(self._open):
            marks, is_list = self._open[-1]
            self._step(marks, len(marks) if is_list else json.loads(word))
            if not is_list:
                return
        if word in "[{":
            self._open.append((self._begin_container(), word == "["))
        else:
            self._end_value()

    def _step(self, marks: Marks, step: str | int) -> None:
        self._steps.append(step)
        if step in marks:
            self.duplicates.append(Duplicate(tuple(self._steps), self._line, marks[step][0]))
            keep_former(marks, step)
        marks[step] = (self._line, None)

    def _begin_container(self) -> Marks:
        if not self._open:
            return self.marks
        inner: Marks = {}
        marks, step = self._open[-1][0], self._steps[-1]
        marks[step] = (marks[step][0], inner)
        return inner

    def _end_value(self) -> None:
        if self._steps:
            self._steps.pop()
