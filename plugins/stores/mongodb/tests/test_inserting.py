"""New documents, many at a time: what is sent of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from enum import Enum, StrEnum
from typing import Any, Self

import bson
import pytest
from aats_store_mongodb import inserting
from aats_store_mongodb.inserting import New
from aats_store_mongodb.queries import complete
from aats_store_mongodb.wire import CODEC
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import DuplicateKey, InvalidDocument
from aats_core.message import new_id
from aats_core.query.values import MAX_DEPTH
from aats_core.store import RecordStore
from aats_core.testing import strategies
from aats_core.testing.stores_samples import VALUES


class Colour(StrEnum):
    RED = "red"


class Odd(bytes, Enum):
    """Its members are bytes, and their values are not."""

    def __new__(cls, value: int) -> Self:
        made = bytes.__new__(cls, [value])
        made._value_ = value
        return made

    ONE = 1


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"": value}
    return value


def sent(*documents: Any) -> list[bytes]:
    return [bytes(body.raw) for body in New(documents)._bodies]


@given(st.lists(strategies.values(), min_size=1, max_size=4))
def test_any_documents_are_sent_as_each_would_be_alone(values):
    documents = [{"_id": number, "a": value} for number, value in enumerate(values)]
    assert sent(*documents) == [bson.encode(complete(each), codec_options=CODEC) for each in documents]


RARE = (
    *(Colour.RED, Odd.ONE, OrderedDict(a=1), bytearray(b"1"), memoryview(b"1")),
    *(bson.Int64(1), bson.Binary(b"1", 5), bson.Code("1"), nested(MAX_DEPTH - 2), "x" * 9000),
)


@pytest.mark.parametrize("value", [*VALUES, *RARE], ids=lambda value: type(value).__name__)
def test_every_value_is_sent_as_it_would_be_alone(value):
    document = {"_id": 1, "a": [value]}
    assert sent(document, {"_id": 2})[0] == bson.encode(complete(document), codec_options=CODEC)


REFUSED = (
    *(object(), {1}, frozenset(), 1j, ..., bson.ObjectId(), bson.Regex("a"), 2**63, -(2**63) - 1, "\ud800"),
    *({1: 1}, {"a\0": 1}, {"\ud800": 1}, nested(MAX_DEPTH), nested(5000)),
)


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_cannot_be_kept_is_refused_as_it_is_alone(value):
    document = {"_id": 1, "a": {"b": [value]}}
    with pytest.raises(InvalidDocument) as alone:
        complete(document)
    with pytest.raises(InvalidDocument) as together:
        New([{"_id": 2}, document])
    assert str(together.value) == str(alone.value)


@pytest.mark.parametrize("other", [[], "text", None, 1])
def test_what_is_no_document_is_refused(other):
    with pytest.raises(InvalidDocument, match="pass documents one by one"):
        New([{"_id": 1}, other])


def test_documents_without_an_id_get_one_in_front():
    new = New([{"a": 1}, {"_id": 7}])
    assert [list(each) for each in new.documents] == [["_id", "a"], ["_id"]]
    assert [bson.decode(each)["_id"] for each in map(bytes, (body.raw for body in new._bodies))] == new.ids


def test_what_the_caller_changes_meanwhile_is_not_sent():
    documents: list[dict[str, Any]] = [{"_id": 1, "a": [1]}, {"_id": 2, "a": [1]}]
    new = New(documents)
    documents[0]["a"].append(2)
    del documents[1]["_id"]
    assert [bson.decode(bytes(body.raw)) for body in new._bodies] == [{"_id": 1, "a": [1]}, {"_id": 2, "a": [1]}]


def test_a_command_takes_as_many_as_it_can_hold(monkeypatch):
    def sizes(*documents: dict[str, Any]) -> list[int]:
        return list(map(len, New(documents)._batches()))

    assert sizes(*({"_id": number, "text": "x" * 5_000_000} for number in range(5))) == [3, 2]
    monkeypatch.setattr(inserting, "_MOST", 3)
    assert sizes(*({"_id": number} for number in range(7))) == [3, 3, 1]


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_several_commands_are_one_insert(make_store, monkeypatch, driver):
    async def scenario() -> None:
        name, store = f"several_{new_id()}", make_store(driver=driver)
        await store.connect()
        try:
            records = next(each for each in store.capabilities if isinstance(each, RecordStore))
            await records.insert(name, {"_id": 8})
            with pytest.raises(DuplicateKey, match="_id = 8"):
                await records.insert(name, *({"_id": number} for number in range(9)))
            assert await records.count(name) == 1
            assert await records.insert(name, *({"_id": number} for number in range(8))) == list(range(8))
            assert await records.count(name) == 9
        finally:
            await store.close()

    monkeypatch.setattr(inserting, "_MOST", 3)
    asyncio.run(scenario())
