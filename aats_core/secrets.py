"""Secrets: the values that this process must not show, and how they are taken out of what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "**********"
"""What stands in the place of a secret."""

_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/?#@:'\"]*):(?P<password>[^\s/?#'\"]*)@")
_SHORT = 4
_LINE = 8


class Redactor:
    """Remembers secrets and masks them wherever they stand in a text, also quoted, escaped or as part of a URL."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def remember(self, value: str) -> None:
        """Mask that value from now on.

        One of fewer than four characters is masked only where it stands as a word, and if it is a number only where
        it is the whole of a setting: it would take the figures out of every text.
        """
        new = set(_forms(value)) - self._values
        if new:
            self._values |= new
            in_texts = [value for value in self._values if len(value) >= _SHORT or not value.isdecimal()]
            longest_first = sorted(in_texts, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(_expression, longest_first))) if in_texts else None

    def forget(self) -> None:
        """Mask nothing any more; for tests, which share a process."""
        self._values.clear()
        self._pattern = None

    def redact(self, text: str) -> str:
        """Return a text without the secrets in it, and without the user and password of any URL."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _USER.sub(rf"\g<scheme>{MASK}@", text) if "://" in text else text

    def mask(self, value: Any) -> Any:
        """Return a value such as JSON can hold without the secrets in it."""
        if isinstance(value, dict):
            return {self.redact(name): self.mask(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.mask(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        if str(value) in self._values:
            return MASK
        return self.redact(value) if isinstance(value, str) else value


def _forms(value: str) -> Iterator[str]:
    """Yield the ways in which a value may be written: as it is, escaped, a line of it, the password of a URL."""
    lines = [line.strip() for line in value.splitlines()]
    parts = [value.strip(), *(line for line in lines if len(line) >= _LINE)]
    for match in _USER.finditer(value):
        parts += [match["password"], unquote(match["password"])]
    for part in parts:
        if part:
            yield from (part, quote(part, safe=""), quote_plus(part), repr(part)[1:-1], json.dumps(part)[1:-1])


def _expression(value: str) -> str:
    return re.escape(value) if len(value) >= _SHORT else rf"(?<!\w){re.escape(value)}(?!\w)"


_process = Redactor()

remember = _process.remember
forget = _process.forget
redact = _process.redact
mask = _process.mask
