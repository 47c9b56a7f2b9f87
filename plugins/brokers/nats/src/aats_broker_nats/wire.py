"""What travels: messages with their headers, and what the clients of a group say to each other."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import msgspec

from aats_core.errors import InvalidPayload
from aats_core.message import Message, decode, new_id, unreadable

ID = "Nats-Msg-Id"
KEY = "Aats-Key"
NOT_BEFORE = "Aats-Not-Before"
REASON = "Aats-Reason"
ATTEMPTS = "Aats-Attempts"
TIME = "Aats-Time"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"

MAX_REASON = 8192
OVERHEAD = 2 * MAX_REASON
"""Bytes that are kept free in every message for headers, also for those of a dead letter."""


def headers(key: str | None, not_before: float | None) -> dict[str, str]:
    """Return the headers of a message, with an id under which a repetition of this very publish is dropped."""
    made = {ID: new_id()}
    if key is not None:
        made[KEY] = quote(key)
    if not_before is not None:
        made[NOT_BEFORE] = repr(not_before)
    return made


def key_of(found: dict[str, str] | None) -> str | None:
    """Return the key that the headers tell of."""
    return unquote(found[KEY]) if found and KEY in found else None


def quoted(text: str) -> str:
    """Return any text, shortened if need be, as one line of a header."""
    return json.dumps(text[: MAX_REASON // 12])


def readable(data: bytes) -> Message:
    """Return the message that lies among the dead letters, or what stands for bytes that are none."""
    try:
        return decode(data)
    except InvalidPayload:
        return unreadable(data)


# What a consumer asks of the owner of its group


class Held(msgspec.Struct, frozen=True):
    """A delivery that a consumer holds, told to a new owner."""

    sequence: int
    attempt: int
    topic: str
    key: str | None
    reply: str


class Join(msgspec.Struct, frozen=True, tag=True):
    """A consumer takes part, or takes part again with what it holds."""

    consumer: str
    inbox: str
    prefetch: int
    held: list[Held]


class Leave(msgspec.Struct, frozen=True, tag=True):
    """A consumer leaves; what it holds but no handler has seen does not count as an attempt."""

    consumer: str
    seen: list[int]


class Settle(msgspec.Struct, frozen=True, tag=True):
    """A consumer is done with a delivery: `ack`, `nack`, `reject`, or `extend` where it is not."""

    consumer: str
    sequence: int
    attempt: int
    how: str
    delay: float = 0.0
    reason: str = ""


class Ping(msgspec.Struct, frozen=True, tag=True):
    """A consumer lives; answered with `known = False` where it has to join again."""

    consumer: str


class Status(msgspec.Struct, frozen=True, tag=True):
    """Someone wants to know how many consumers there are and what they hold."""


Command = Join | Leave | Settle | Ping | Status


class Answer(msgspec.Struct, frozen=True):
    """What the owner answers to a command."""

    known: bool = True
    error: str = ""
    consumers: int = 0
    held: int = 0


# What the owner tells a consumer


class Deliver(msgspec.Struct, frozen=True, tag=True):
    """A message is yours."""

    consumer: str
    held: Held
    data: bytes


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The lease of a delivery ran out: it is no longer yours."""

    consumer: str
    sequence: int


class Released(msgspec.Struct, frozen=True, tag=True):
    """The owner goes; someone else may take its place."""

    consumer: str


Notice = Deliver | Lost | Released

encoder = msgspec.msgpack.Encoder()
commands = msgspec.msgpack.Decoder(list[Command])
answers = msgspec.msgpack.Decoder(list[Answer])
notices = msgspec.msgpack.Decoder(Notice)
