"""The stored form of documents, for databases that need not compare what is in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.query.needs import Fields
from aats_core.storage.stored_form import MARK, StoredForm, date_text, decoder

_DECIMAL = "n"  # then its digits, or NaN
_FLOAT = "f"  # then nan, inf or -inf
_STRING = "s"  # then a string that begins with the mark itself
_BINARY = "v"  # then the bytes in hexadecimal
_DATE = "x"  # then the time in UTC


class _Form(StoredForm):
    def scalar(self, value: Any) -> Any:
        kind = value.__class__
        if kind is str:
            return f"{MARK}{_STRING}{value}" if value.startswith(MARK) else value
        if kind is float:
            return value if math.isfinite(value) else f"{MARK}{_FLOAT}{value}"
        if kind is Decimal:
            return f"{MARK}{_DECIMAL}{value}"
        if kind is bytes:
            return f"{MARK}{_BINARY}{value.hex()}"
        return f"{MARK}{_DATE}{date_text(value)}" if kind is datetime else value

    def restored(self, text: str) -> Any:
        return _RESTORE[text[1]](text[2:]) if text.startswith(MARK) else text


_RESTORE: dict[str, Callable[[str], Any]] = {
    _DECIMAL: Decimal,
    _FLOAT: float,
    _STRING: str,
    _BINARY: bytes.fromhex,
    _DATE: datetime.fromisoformat,
}

_FORM = _Form(plain_below=math.inf)


def encode(value: Any, place: str = "document") -> bytes:
    """Return the stored form of a value; raises `InvalidDocument`, naming the place, where it holds what none keeps."""
    return _FORM.encode(value, place).encode()


_MARK = MARK.encode()[:1]
"""With what byte the mark begins, and no character that people write."""

_decode = msgspec.json.Decoder().decode


def decode(text: bytes) -> Any:
    """Return the value of a stored form."""
    if _MARK not in text:
        try:
            return _decode(text)
        except msgspec.DecodeError:
            pass
    return _FORM.decode(text.decode())


def decode_all(texts: Collection[bytes], fields: Fields | None = None) -> list[Any]:
    """Return the values of several stored forms: of plain ones by one call, as a list that they make together.

    They are documents where `fields` are given: with at least these, where they have them.
    """
    together = b"".join((b"[", b",".join(texts), b"]"))
    if _MARK not in together:
        try:
            return decoder(fields).decode(together)
        except msgspec.DecodeError:
            pass
    return list(map(decode, texts))
