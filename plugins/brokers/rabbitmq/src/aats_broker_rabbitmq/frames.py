"""Frames of AMQP 0-9-1 as bytes: what is sent for every message, made without the driver's detours.

The layout is that of sections 2.3.5 and 4.2 of the specification; tables are left to `pamqp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from pamqp import encode

METHOD, HEADER, BODY, END = 1, 2, 3, b"\xce"
OVERHEAD = 8
"""Bytes that a frame has beside what it carries."""
BASIC = 60
PERSISTENT = b"\x02"
HAS_MODE, HAS_HEADERS = 0x1000, 0x2000

_frame = Struct(">BHI")
_header = Struct(">HHQH")
_ack = Struct(">BHIHHQBB")


@lru_cache(maxsize=4096)
def _publish(channel: int, exchange: str, routing_key: str) -> bytes:
    method = b"\x00\x3c\x00\x28\x00\x00" + _short(exchange) + _short(routing_key) + b"\x00"
    return _frame.pack(METHOD, channel, len(method)) + method + END


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data


def publish(
    channel: int, exchange: str, routing_key: str, body: bytes, headers: dict[str, Any] | None, max_frame: int
) -> bytes:
    """Return the frames of one persistent message; an unroutable one is dropped, and confirmed all the same."""
    if headers:
        header = _header.pack(BASIC, 0, len(body), HAS_HEADERS | HAS_MODE) + encode.field_table(headers) + PERSISTENT
    else:
        header = _header.pack(BASIC, 0, len(body), HAS_MODE) + PERSISTENT
    parts = [_publish(channel, exchange, routing_key), _frame.pack(HEADER, channel, len(header)), header, END]
    room = max_frame - OVERHEAD
    for start in range(0, len(body), room):
        part = body[start : start + room]
        parts += (_frame.pack(BODY, channel, len(part)), part, END)
    return b"".join(parts)


def settle(channel: int, upto: int, single: Sequence[int]) -> bytes:
    """Return the frames that acknowledge every delivery up to a tag (none for 0), and single ones."""
    frames = [_ack.pack(METHOD, channel, 13, BASIC, 80, tag, 0, 0xCE) for tag in single]
    if upto:
        frames.insert(0, _ack.pack(METHOD, channel, 13, BASIC, 80, upto, 1, 0xCE))
    return b"".join(frames)
