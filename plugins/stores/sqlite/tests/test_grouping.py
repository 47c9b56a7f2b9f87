"""Groups that SQLite makes are those that Python makes of the same documents."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aats_store_sqlite import SqliteStore, reading
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aats_core.query import Context, parse_pipeline, run_pipeline
from aats_core.query.values import sort_key
from aats_core.store import Document, RecordStore
from aats_core.testing import strategies

DAYS = (datetime(2024, 2, 29, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
SAMPLES = (None, "x", "", "1", 1, 1.0, 1.5, True, False, 2**62, -1, math.inf, math.nan, Decimal(1), b"1", *DAYS)
"""Values that SQL could take for one another, or add up otherwise."""

FIGURES = ("$sum", "$avg", "$min", "$max")


def records_of(store: SqliteStore) -> Any:
    return next(part for part in store.capabilities if isinstance(part, RecordStore))


def in_python(documents: list[Document], pipeline: Any) -> list[Document]:
    return run_pipeline(documents, parse_pipeline(pipeline), Context(DAYS[0], lambda *_: []))


def test_whatever_the_values(open_store: Any) -> None:
    paths = st.sampled_from(("$a", "$b", "$b.c"))
    figures = st.dictionaries(st.sampled_from(FIGURES), paths)
    plain = st.fixed_dictionaries({}, optional={"a": st.sampled_from(SAMPLES), "b": st.sampled_from((1, 2, 2**62))})
    documents = st.lists(st.one_of(strategies.documents(), plain), max_size=5)

    with asyncio.Runner() as runner:
        context = open_store()
        records = records_of(runner.run(context.__aenter__()))

        async def check(found: list[Any], by: Any, wanted: dict[str, str]) -> None:
            numbered = [{"_id": number, **each} for number, each in enumerate(found)]
            made = {name[1:]: {name: path} for name, path in wanted.items()}
            pipeline = [{"$group": {"_id": by, "n": {"$sum": 3}, "count": {"$count": {}}, **made}}]
            await records.delete("things", {})
            await records.insert("things", *numbered)
            groups = await records.aggregate("things", pipeline)
            expected = in_python(numbered, pipeline)
            assert sorted(map(sort_key, groups)) == sorted(map(sort_key, expected)), (numbered, pipeline)

        rules = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        try:
            cases = given(st.tuples(documents, st.one_of(st.none(), paths), figures))
            rules(cases(lambda case: runner.run(check(*case))))()
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The documents that are read while the test runs."""
    texts: list[str] = []
    decode_all: Callable[..., Any] = reading.decode_all

    def counted(found: list[str], *options: Any) -> Any:
        texts.extend(found)
        return decode_all(found, *options)

    monkeypatch.setattr(reading, "decode_all", counted)
    return texts


@pytest.mark.parametrize(
    ("values", "in_sql"),
    [((1, 2, None), True), (("x", "y"), True), (DAYS, True), ((1, 1.5), False), ((2**63 - 1, 1), True), (([1],), True)],
)
def test_what_sql_can_add_up_is_not_read(open_store: Any, read: list[str], values: Any, in_sql: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            documents = [{"_id": number, "k": number % 2 or "even", "v": value} for number, value in enumerate(values)]
            await records_of(store).insert("things", *documents)
            read.clear()
            pipeline = [{"$group": {"_id": "$k", "v": {"$sum": "$v"}}}, {"$sort": {"v": 1}}]
            found = await records_of(store).aggregate("things", pipeline)
            assert sorted(map(sort_key, found)) == sorted(map(sort_key, in_python(documents, pipeline)))
            assert bool(read) is not in_sql

    asyncio.run(scenario())


def test_what_others_wrote_in_other_json(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            await records_of(store).insert("things", *({"_id": n, "k": "é", "n": 1} for n in range(3)))
            table = store.native.execute("SELECT 'records_' || id FROM aats_collections").get
            store.native.execute(f"UPDATE {table} SET doc = replace(doc, 'é', '\\u00e9') WHERE id = 1")
            (group,) = await records_of(store).aggregate("things", [{"$group": {"_id": "$k", "n": {"$sum": "$n"}}}])
            assert group == {"_id": "é", "n": 3}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "name", ["a'b", "') FROM x --", 'a"b', "a\\b", "?1", ":n", "a b", "[0]", "\2", "\U0010ffffn5", "'||id||'"]
)
def test_names_are_no_code(open_store: Any, name: str) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            await records_of(store).insert("things", {name: name, "n": 1}, {name: name, "n": 2}, {name: 7, "n": 4})
            pipeline = [{"$group": {"_id": f"${name}", "n": {"$sum": "$n"}, "most": {"$max": f"${name}"}}}]
            found = await records_of(store).aggregate("things", pipeline)
            wanted = [{"_id": name, "n": 3, "most": name}, {"_id": 7, "n": 4, "most": 7}]
            assert sorted(map(sort_key, found)) == sorted(map(sort_key, wanted))

    asyncio.run(scenario())


def test_a_sum_that_no_integer_holds(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            await records_of(store).insert("things", *({"v": 2**63 - 1} for _ in range(3)))
            ((group),) = await records_of(store).aggregate("things", [{"$group": {"_id": None, "v": {"$sum": "$v"}}}])
            assert group == {"_id": None, "v": float(3 * (2**63 - 1))}

    asyncio.run(scenario())
