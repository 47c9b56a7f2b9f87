"""The envelope in which agents write to each other, and its wire form."""

from __future__ import annotations

import base64
import builtins
import hashlib
import itertools
import os
import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from aats_core.errors import InvalidPayload

T = TypeVar("T")

if TYPE_CHECKING:
    Payload = Any
else:
    Payload = msgspec.Raw  # what `decode` leaves undecoded; a sender puts any value there


class _Ids:
    """Makes ids that are unique across processes: 12 random bytes a process, then a counter."""

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._prefix, self._count = os.urandom(12).hex(), itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}{next(self._count):08x}"


_ids = _Ids()


def new_id() -> str:
    """Return an id that no other process and no later call returns: at least 32 hexadecimal digits."""
    return _ids.next()


class Message(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What one agent says to another, or to everyone who listens to a topic.

    Times are seconds since the Unix epoch; `priority` 1 is most urgent and 9 least. `payload` is a Python
    value, or, after `decode`, the undecoded JSON that `read` turns into a value. `correlation_id` is the id of
    the message, or of the task, that a chain of messages began with; `reply_to` is where an answer goes.
    """

    type: str
    payload: Payload = None
    sender: str = ""
    receiver: str = ""
    id: str = msgspec.field(default_factory=new_id)
    timestamp: float = msgspec.field(default_factory=time.time)
    correlation_id: str = ""
    reply_to: str = ""
    priority: int = 5
    deadline: float | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The principal at whose wish this message was sent; empty for the team itself."""
        return self.headers.get("subject", "")

    def read(self, as_type: builtins.type[T]) -> T:
        """Return the payload as that type; raises `InvalidPayload` where it does not fit."""
        try:
            if self.payload.__class__ is msgspec.Raw:
                return msgspec.json.decode(self.payload, type=as_type)
            return msgspec.convert(self.payload, type=as_type, from_attributes=True)
        except (ValueError, RecursionError) as error:  # malformed text, or nested too deep, is only met here
            raise InvalidPayload(f"{self.type}: {error}") from error


def _encode_other(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a {type(value).__name__} cannot be sent in a message")
    return dump(mode="json")


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)
_decoder = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the wire form: one JSON object without the fields that have their default value.

    Raises `InvalidPayload` where the payload holds something that JSON cannot carry; but a float that is infinite or
    not a number becomes null, as in a browser.
    """
    try:
        return _encoder.encode(message)
    except (TypeError, RecursionError, ValueError) as error:
        raise InvalidPayload(f"{message.type}: {error}") from error


def decode(data: bytes | memoryview) -> Message:
    """Return the message of a wire form, its payload still undecoded.

    Unknown fields are ignored, so that an older process reads what a newer one wrote; raises `InvalidPayload` on
    anything that is not a message.
    """
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"not a message: {error}") from error


def unreadable(data: bytes) -> Message:
    """Return what stands for bytes that are no message among the dead letters: it holds them as base64.

    Its id and its time are the same each time the same bytes are read.
    """
    name = hashlib.blake2b(data, digest_size=16).hexdigest()
    return Message("unreadable", {"base64": base64.b64encode(data).decode()}, id=name, timestamp=0.0)
