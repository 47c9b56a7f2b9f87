"""The stored form of documents: JSON text; what JSON lacks are strings that begin with a mark and a letter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypedDict

import msgspec

from aats_core.errors import StoreError
from aats_core.query.needs import Fields
from aats_core.query.values import MAX_INT, MIN_INT, normal

MARK = "\U0010ffff"
"""The last character of Unicode, which sorts after all others."""

_CONTROL = "\\u000"
"""How JSON writes the first control characters, of which some databases cannot hold all."""

_TOGETHER = 250
"""Stored forms that are decoded at once: of more, the first would have left the processor's cache."""

_SAFE_DEPTH = 90
_PLAIN = frozenset({str, bool, type(None)})
"""Types of which JSON has every value."""
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


class StoredForm(ABC):
    """Turns values into text and back; a subclass says what its database can compare, and what is tagged instead.

    Most documents are plain, and their JSON is what is stored; floats are plain below `plain_below`. Strings that hold
    the character `escape` (as JSON writes it) are restored like tagged ones.
    """

    def __init__(self, *, plain_below: float, escape: str | None = None) -> None:
        self._plain_below = plain_below
        self._escape = escape

    @abstractmethod
    def scalar(self, value: Any) -> Any:
        """Return what stands in JSON for a scalar value: itself, a tagged string, or `msgspec.Raw`."""

    @abstractmethod
    def restored(self, text: str) -> Any:
        """Return the value of a string that stands in JSON."""

    def repaired(self, text: str, error: msgspec.DecodeError) -> Any:
        """Return the value of text that is not quite JSON; raises `StoreError` where it is none at all."""
        del text
        raise StoreError(f"the database holds a document that is no JSON, it is damaged: {error}") from error

    def encode(self, value: Any, place: str = "document") -> str:
        """Return the stored form of a value; raises `InvalidDocument`, naming the place, for what no store keeps."""
        if _is_plain(value, self._plain_below, 0):
            try:
                text = _encode_json(value).decode()
            except UnicodeEncodeError:
                text = MARK
            if MARK not in text and ("\\" not in text or _CONTROL not in text):
                return text
        return _encode_json(self._tagged(normal(value, place))).decode()

    def decode(self, text: str) -> Any:
        """Return the value of a stored form."""
        try:
            value = _decode_json(text)
        except msgspec.DecodeError as error:
            value = self.repaired(text, error)
        escape = self._escape
        return self._untagged(value) if MARK in text or (escape is not None and escape in text) else value

    def decode_all(self, texts: Sequence[str], fields: Fields | None = None) -> list[Any]:
        """Return the values of several stored forms; with `fields`, documents that have these, and perhaps others."""
        found: list[Any] = []
        for at in range(0, len(texts), _TOGETHER):
            part = texts[at : at + _TOGETHER]
            together = f"[{','.join(part)}]"
            if MARK in together or (self._escape is not None and self._escape in together):
                found += map(self.decode, part)
                continue
            try:
                found += decoder(fields).decode(together)
            except msgspec.DecodeError:
                found += map(self.decode, part)
        return found

    def _tagged(self, value: Any) -> Any:
        kind = value.__class__
        if kind is dict:
            return {name: self._tagged(item) for name, item in value.items()}
        if kind is list:
            return [self._tagged(item) for item in value]
        return self.scalar(value)

    def _untagged(self, value: Any) -> Any:
        kind = value.__class__
        if kind is dict:
            return {name: self._untagged(item) for name, item in value.items()}
        if kind is list:
            return [self._untagged(item) for item in value]
        return self.restored(value) if kind is str else value


@lru_cache(maxsize=256)
def decoder(fields: Fields | None) -> msgspec.json.Decoder[list[Any]]:
    """Return what decodes a list of values, or with `fields` of documents, of which it passes over all other fields."""
    if fields is None or not all(map(str.isascii, fields)):  # it finds no other names, nor may they be half a pair
        return msgspec.json.Decoder(list[Any])
    kept = dict.fromkeys(fields, Any)
    return msgspec.json.Decoder(list[TypedDict("Document", kept, total=False)])  # type: ignore[misc,operator] # made as it runs


def _is_plain(value: Any, below: float, depth: int) -> bool:
    """Tell whether the encoder for JSON keeps a value, and all that it holds, as it is: what all writes wait for."""
    kind = value.__class__
    if kind is dict:
        for name in value:
            if name.__class__ is not str:
                return False
        values = value.values()
    elif kind is list or kind is tuple:
        values = value
    elif kind is int:
        return bool(MIN_INT <= value <= MAX_INT)
    elif kind is float:
        return bool(-below < value < below)
    else:
        return kind in _PLAIN
    for each in values:
        if each.__class__ not in _PLAIN and (depth > _SAFE_DEPTH or not _is_plain(each, below, depth + 1)):
            return False
    return True


def date_text(value: Any) -> str:
    """Return a date in UTC as text that sorts by time: 2026-01-31T23:59:59.999Z."""
    return f"{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def binary_text(value: bytes) -> str:
    """Return binary data as text that sorts by length first: eight hexadecimal digits for it, then two a byte."""
    return f"{len(value):08x}{value.hex()}"


def binary_of(text: str) -> bytes:
    """Return the binary data of such a text."""
    return bytes.fromhex(text[8:])
