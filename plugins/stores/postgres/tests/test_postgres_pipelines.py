"""What PostgreSQL does of pipelines."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aats_store_postgres import PostgresStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aats_core.message import new_id
from aats_core.query import Context, parse_pipeline, run_pipeline
from aats_core.query.values import sort_key
from aats_core.store import RecordStore
from aats_core.testing import strategies

SAMPLES = (None, "x", "y", "", 1, 2, True, 2**62, "1", "1.5", "-", "true", "null", "[x", "{}")
"""Values to group by, some of them strings that look like other values."""


def offered(store: PostgresStore, kind: Any) -> Any:
    return next(each for each in store.capabilities if isinstance(each, kind))


def test_groups_are_those_of_the_evaluator_whatever_the_values(opened: Any) -> None:
    fields = st.fixed_dictionaries(
        {"_id": st.sampled_from((None, "$a", "$b.c"))},
        optional={
            "n": st.just({"$sum": 1}),
            "sum": st.just({"$sum": "$b"}),
            "mean": st.just({"$avg": "$b"}),
            "least": st.just({"$min": "$b"}),
            "most": st.just({"$max": "$a"}),
            "count": st.just({"$count": {}}),
        },
    )
    plain = st.fixed_dictionaries({}, optional={"a": st.sampled_from(SAMPLES), "b": st.integers(-5, 2**62)})
    cases = st.tuples(st.lists(st.one_of(strategies.documents(), plain), max_size=5), fields)
    agree(opened, cases.map(lambda case: (case[0], [{"$group": case[1]}])))


def test_a_pipeline_that_begins_in_the_database_goes_on_in_python(opened: Any) -> None:
    stages = st.lists(
        st.one_of(
            strategies.filters().map(lambda each: {"$match": each}),
            st.integers(0, 2).map(lambda number: {"$skip": number}),
            st.integers(1, 3).map(lambda number: {"$limit": number}),
            st.just({"$sort": {"n": -1}}),
            st.just({"$unwind": "$a"}),
            st.just({"$addFields": {"z": {"$type": "$a"}}}),
        ),
        max_size=4,
    ).map(lambda each: [{"$sort": {"_id": 1}}, *each, {"$count": "n"}])
    agree(opened, st.tuples(st.lists(strategies.documents(), max_size=4), stages))


def agree(opened: Any, cases: Any) -> None:
    with asyncio.Runner() as runner:
        context = opened()
        store = runner.run(context.__aenter__())
        records, name = offered(store, RecordStore), f"pipes_{new_id()}"

        async def check(documents: list[Any], pipeline: Any) -> None:
            await records.delete(name, {})
            numbered = [{"_id": number, "n": number, **each} for number, each in enumerate(documents)]
            await records.insert(name, *numbered)
            wanted = run_pipeline(numbered, parse_pipeline(pipeline), Context(datetime.now(UTC), lambda *_: []))
            found = await records.aggregate(name, pipeline)
            assert sorted(map(sort_key, found)) == sorted(map(sort_key, wanted)), (documents, pipeline)

        rules = settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        try:
            rules(given(cases)(lambda case: runner.run(check(*case))))()
        finally:
            runner.run(context.__aexit__(None, None, None))


def test_lookups_ask_the_database_while_the_loop_runs_also_within_a_transaction(opened: Any) -> None:
    async def scenario() -> None:
        async with opened() as store, asyncio.timeout(60):
            records, name, other = offered(store, RecordStore), f"left_{new_id()}", f"right_{new_id()}"
            await records.insert(name, {"_id": 1, "k": "x"}, {"_id": 2, "k": "y"})
            lookup = {"from": other, "localField": "k", "foreignField": "k", "as": "found"}
            facet = [{"$facet": {"all": [{"$sort": {"_id": 1}}, {"$lookup": lookup}]}}]
            async with records.transaction() as inside:
                await inside.insert(other, {"_id": 3, "k": "y"})
                ((result),) = await inside.aggregate(name, facet)
            assert [each["found"] for each in result["all"]] == [[], [{"_id": 3, "k": "y"}]]

    asyncio.run(scenario())
