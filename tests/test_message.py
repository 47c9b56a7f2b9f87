from __future__ import annotations

import base64
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import InvalidPayload
from aats_core.message import Message, decode, encode, new_id, unreadable

finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
messages = st.builds(
    Message,
    type=st.text(),
    payload=json_values,
    sender=st.text(),
    receiver=st.text(),
    id=st.text(),
    timestamp=finite,
    correlation_id=st.text(),
    reply_to=st.text(),
    priority=st.integers(1, 9),
    deadline=st.none() | finite,
    headers=st.dictionaries(st.text(), st.text()),
)


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclass
class Person:
    name: str


class Account(pydantic.BaseModel):
    owner: str
    secret: pydantic.SecretStr | None = None


class TestWireForm:
    @given(messages)
    def test_what_was_encoded_is_decoded(self, sent: Message) -> None:
        received = decode(encode(sent))
        assert received.read(object) == sent.payload  # type: ignore[comparison-overlap]
        for field in Message.__struct_fields__:
            if field != "payload":
                assert getattr(received, field) == getattr(sent, field)

    @given(messages)
    def test_a_message_passed_on_undecoded_stays_the_same(self, sent: Message) -> None:
        wire = encode(sent)
        assert encode(decode(wire)) == wire

    def test_fields_with_their_default_are_left_out(self) -> None:
        message = Message("ping", id="1", timestamp=2.0)
        assert encode(message) == b'{"type":"ping","id":"1","timestamp":2.0}'
        assert decode(encode(message)).payload is None

    def test_a_payload_stays_undecoded_until_it_is_read(self) -> None:
        received = decode(encode(Message("move", Point(1, 2))))
        assert isinstance(received.payload, msgspec.Raw)
        assert received.read(Point) == Point(1, 2)

    def test_unknown_fields_are_ignored(self) -> None:
        received = decode(b'{"type":"ping","tenant":{"id":[1]},"payload":7,"hops":3}')
        assert (received.type, received.read(int)) == ("ping", 7)

    @pytest.mark.parametrize(
        "garbage",
        [
            b"",
            b"\x00\x01",
            b"\xff\xfe",
            b"null",
            b"[]",
            b'"ping"',
            b"{}",
            b'{"type":"ping"',
            b'{"type":"ping"} trailing',
            b'{"type":"\xff"}',
            b'{"type":7}',
            b'{"type":"ping","priority":"high"}',
            b'{"type":"ping","timestamp":1e999}',
            b'{"type":"ping","headers":{"subject":7}}',
            b'{"type":"ping","payload":}',
            b'{"type":"ping","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"type":"ping","unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        ],
    )
    def test_garbage_is_refused(self, garbage: bytes) -> None:
        with pytest.raises(InvalidPayload, match="not a message"):
            decode(garbage)

    @given(st.binary())
    def test_no_bytes_raise_anything_else(self, data: bytes) -> None:
        with pytest.raises(InvalidPayload):
            decode(data)

    @given(messages, st.data())
    def test_a_damaged_message_is_refused_or_readable(self, sent: Message, data: st.DataObject) -> None:
        wire = bytearray(encode(sent))
        place = data.draw(st.integers(0, len(wire) - 1))
        wire[place] = data.draw(st.integers(0, 255))
        with suppress(InvalidPayload):
            decode(bytes(wire)).read(object)

    def test_a_payload_of_64_mebibytes_passes(self) -> None:
        text = "x" * (64 * 1024 * 1024)
        assert decode(encode(Message("bulk", text))).read(str) == text


class TestWhatCanBeSent:
    @pytest.mark.parametrize(
        ("payload", "carried"),
        [
            (Point(1), {"x": 1, "y": 0}),
            (Person("ada"), {"name": "ada"}),
            (Account(owner="ada"), {"owner": "ada", "secret": None}),
            ([Account(owner="ada")], [{"owner": "ada", "secret": None}]),
            (Account(owner="ada", secret=pydantic.SecretStr("hush")), {"owner": "ada", "secret": "**********"}),
            ({1, 2}, [1, 2]),
            (b"\x00\xff", "AP8="),
            ({1: "int keys"}, {"1": "int keys"}),
            (2**70, 2**70),
            (float("nan"), None),
            (float("inf"), None),
        ],
    )
    def test_it_arrives_as_json(self, payload: object, carried: object) -> None:
        assert decode(encode(Message("any", payload))).read(object) == carried  # type: ignore[comparison-overlap]

    def test_what_json_cannot_carry_is_refused_with_the_type_of_the_message(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        for payload in (object(), {"deep": [lambda: None]}, {(1, 2): 3}, "\ud800", endless, 1j):
            with pytest.raises(InvalidPayload, match=r"^report: "):
                encode(Message("report", payload))


class TestRead:
    def test_a_value_that_was_never_sent_is_read_like_one_that_was(self) -> None:
        message = Message("move", {"x": 1, "y": 2})
        assert message.read(Point) == decode(encode(message)).read(Point) == Point(1, 2)
        assert Message("move", Person("ada")).read(Person) == Person("ada")

    @pytest.mark.parametrize("payload", [{"x": "one"}, {"y": 2}, [1, 2], None, "text"])
    def test_a_payload_that_does_not_fit_is_refused_with_the_type_of_the_message(self, payload: object) -> None:
        for message in (Message("move", payload), decode(encode(Message("move", payload)))):
            with pytest.raises(InvalidPayload, match=r"^move: "):
                message.read(Point)

    def test_text_that_turns_out_malformed_is_refused(self) -> None:
        received = decode(b'{"type":"move","payload":"\xff\xfe"}')
        with pytest.raises(InvalidPayload, match=r"^move: "):
            received.read(str)

    def test_the_subject_is_a_header(self) -> None:
        assert Message("ping").subject == ""
        assert Message("ping", headers={"subject": "ada"}).subject == "ada"

    def test_a_message_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            Message("ping").priority = 1  # type: ignore[misc]


class TestIds:
    def test_no_two_calls_return_the_same(self) -> None:
        ids = [new_id() for _ in range(10_000)]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch("[0-9a-f]{32,}", made) for made in ids)

    def test_messages_get_ids_of_their_own(self) -> None:
        assert Message("ping").id != Message("ping").id

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    def test_a_forked_process_makes_other_ids(self) -> None:
        def of_a_child() -> set[str]:
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                os.write(writer, " ".join(new_id() for _ in range(100)).encode())
                os._exit(0)
            os.close(writer)
            with os.fdopen(reader) as pipe:
                found = set(pipe.read().split())
            os.waitpid(child, 0)
            return found

        mine = {new_id() for _ in range(100)}
        children = of_a_child(), of_a_child()
        mine |= {new_id() for _ in range(100)}
        assert len(mine.union(*children)) == 200 + 100 + 100


@given(st.binary())
def test_what_is_no_message_is_kept_whole(data: bytes) -> None:
    kept = unreadable(data)

    assert base64.b64decode(kept.payload["base64"]) == data
    assert decode(encode(kept)).read(dict) == kept.payload
    assert kept == unreadable(data)
    assert unreadable(data + b"x").id != kept.id
