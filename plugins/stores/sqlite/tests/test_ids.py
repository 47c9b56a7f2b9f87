"""Ids of every type, which have a fast path of their own: they mean what the kernel's evaluator says they mean."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from aats_core.errors import DuplicateKey, InvalidDocument
from aats_core.query import matcher, parse_filter, parse_sort, sorted_by
from aats_core.query.values import MAX_INT, MIN_INT, normal
from aats_core.store import Index, Schema

IDS: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**53, MAX_INT, MIN_INT, 1.5, -1e300, math.inf, -math.inf, math.nan),
    *map(Decimal, ("0.1", "1.0000000000000000000001", "9007199254740993", "2.5", "1E+30", "-1E+30")),
    *("", "a", "ab", "b", "0", "\U0010ffff", "\U0010ffffa", "\U0010ffffw1", "\ue000"),
    *(b"", b"a", b"\xff", datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    *({}, {"a": 1}, {"a": {"b": [1, "x"]}}),
]
EQUAL: list[tuple[Any, Any]] = [
    *((1, 1.0), (1, Decimal("1.00")), (2**31, float(2**31)), (1.5, Decimal("1.50")), (0, -0.0)),
    *((math.inf, Decimal("Infinity")), (math.nan, Decimal("NaN")), ({"a": 1}, {"a": 1.0})),
    *(
        (Decimal("0.1"), Decimal("0.10")),
        ({"a": Decimal("1.5")}, {"a": 1.5}),
        ({"a": math.inf}, {"a": Decimal("Infinity")}),
    ),
]
OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")


def test_filters_over_ids_find_what_they_mean(open_store: Any) -> None:
    filters = [{"_id": {name: value}} for value in IDS for name in OPERATORS]
    filters += [{"_id": value} for value in IDS]
    filters += [{"_id": {name: IDS[n::4]}} for n in range(4) for name in ("$in", "$nin")]
    filters += [{"_id": {"$in": ["a", "b", "nowhere"]}}, {"_id": {"$in": [0, 1, 7]}}, {"_id": {"$in": []}}]
    filters += [{"_id": {"$type": name}} for name in ("null", "int", "long", "double", "decimal", "string", "object")]
    filters += [{"_id": {"$type": name}} for name in ("array", "binData", "bool", "date")]
    filters += [{"_id": {"$mod": [2, 1]}}, {"_id": {"$regex": "^a"}}, {"_id": {"$exists": True}}, {"_id": [1]}]

    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            await records.insert("a", *({"_id": value, "n": number} for number, value in enumerate(IDS)))
            for each in filters:
                matches = matcher(parse_filter(each))
                wanted = {number for number, value in enumerate(IDS) if matches(normal({"_id": value}))}
                found = {document["n"] for document in await records.find("a", each)}
                assert found == wanted, f"{each}: {[IDS[n] for n in found ^ wanted]}"

    asyncio.run(scenario())


def test_ids_come_back_as_they_were(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            for value in IDS:
                await records.insert("a", {"_id": value})
                (found,) = await records.find("a", {"_id": value})
                assert repr(found["_id"]) == repr(normal(value))
                assert await records.delete("a", {"_id": value}) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("direction", [1, -1])
def test_ids_of_all_types_are_sorted_as_values_of_any_field(open_store: Any, direction: int) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            await records.insert("a", *({"_id": value} for value in IDS))
            order = {"_id": direction}
            wanted = sorted_by([normal({"_id": value}) for value in IDS], parse_sort(order, "sort"))
            assert repr(await records.find("a", sort=order)) == repr(list(wanted))

    asyncio.run(scenario())


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=repr)
def test_equal_values_of_different_types_are_one_in_a_unique_index(one: Any, other: Any, open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            await records.ensure("a", Schema(indexes=(Index({"x": 1}, unique=True),)))
            await records.insert("a", *({"x": value} for value in IDS))
            await records.delete("a", {"x": one})
            await records.insert("a", {"x": one})
            with pytest.raises(DuplicateKey):
                await records.insert("a", {"x": other})

    asyncio.run(scenario())


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=repr)
def test_equal_ids_of_different_types_are_one_id(one: Any, other: Any, open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            await records.insert("a", {"_id": one})
            with pytest.raises(DuplicateKey):
                await records.insert("a", {"_id": other})
            assert await records.count("a", {"_id": other}) == 1

    asyncio.run(scenario())


def test_an_array_is_no_id(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            with pytest.raises(InvalidDocument, match="an array cannot be an _id"):
                await store.capabilities[0].insert("a", {"_id": [1]})

    asyncio.run(scenario())
