"""What is the Neo4j store's own: names in Cypher, the server's work on queries, bookmarks, routing, TLS, slow ones."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import trustme
from aats_store_neo4j import Neo4jStore
from aats_store_neo4j.names import kind_name
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from aats_core.clock import RealClock
from aats_core.errors import DuplicateKey, InvalidQuery, StateTooNew, StoreError, StoreUnavailable
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from aats_core.store import Index, Put, RecordStore, Relation, Schema
from aats_core.tls import TlsSettings
from tests.services.neo4j import PASSWORD

HOSTILE = (
    "`",
    "``",
    "a`]->() DETACH DELETE n //",
    "`) MATCH (n) DETACH DELETE n WITH 1 AS x MATCH (`y",
    "\\u0060]->() DETACH DELETE n //",
    "\\",
    "\\\\u0060",
    "'; MATCH (n) DETACH DELETE n; //",
    '"} ) DELETE n',
    "$rows",
    "{{0}}",
    "",
    "%",
    "|>",
    "<",
    "a b\tc\nd",
    "\x00",
    "\u2028",
    "É😀",
    "*/ /*",
)


def records_of(store: Neo4jStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, RecordStore))


def graph_of(store: Neo4jStore) -> Any:
    return next(each for each in store.capabilities if not isinstance(each, RecordStore))


@given(st.text(), st.text())
def test_kinds_are_told_apart_and_never_leave_their_backticks(one: str, other: str) -> None:
    quoted = kind_name(one)
    assert quoted[0] == quoted[-1] == "`"
    assert not set("`\\\n\0") & set(quoted[1:-1])
    assert quoted != "``"
    assert (quoted == kind_name(other)) == (one == other)


@pytest.mark.parametrize("apoc", [True, False])
def test_hostile_names_are_names_like_others(opened: Any, *, apoc: bool) -> None:
    async def scenario() -> None:
        graph = f"g`] {{}} \\u0060 {new_id()}"
        async with opened(apoc=apoc) as store:
            graphs = graph_of(store)
            for number, text in enumerate(HOSTILE):
                await graphs.put_node(graph, text, {"text": text, text.replace("\0", "") or "empty": text, "n": number})
                await graphs.relate(graph, Relation("start", text, text, {"why": text}))
            for number, text in enumerate(HOSTILE):
                found = await graphs.node(graph, text)
                assert found is not None
                assert found["n"] == number
                assert await graphs.neighbours(graph, "start", kind=text) == [text]
                assert await graphs.neighbours(graph, "start", kind=text, depth=3) == [text]
                assert await graphs.shortest_path(graph, "start", text, kind=text) == ["start", text]
                assert isinstance(await graphs.search(graph, text), list)
            assert len(await graphs.neighbours(graph, "start")) == len(HOSTILE)
            for text in HOSTILE:
                assert await graphs.unrelate(graph, "start", text, text)
            assert await graphs.neighbours(graph, "start") == []

    asyncio.run(scenario())


def test_hostile_fields_and_values_are_data(opened: Any) -> None:
    async def scenario() -> None:
        name = f"hostile_{new_id()}"
        fields = [text for text in HOSTILE if text and "\0" not in text and not text.startswith("$")]
        async with opened() as store:
            records = records_of(store)
            await records.insert(name, *({"_id": text, "v": text, text: {"x": text}} for text in fields))
            for text in fields:
                assert [each["_id"] for each in await records.find(name, {"v": text})] == [text]
                assert [each["_id"] for each in await records.find(name, {f"{text}.x": text})] == [text]
                assert await records.count(name, {f"{text}.x": {"$exists": True}}) == 1
                await records.find(name, sort={text: 1}, limit=3)
                await records.aggregate(name, [{"$group": {"_id": "$v", "n": {"$sum": f"${text}"}}}])
            assert await records.count(name) == len(fields)
            for bad in ("a`b", "a b", "", "x" * 200, "\\u0060"):
                with pytest.raises(InvalidQuery):
                    await records.find(bad)

    asyncio.run(scenario())


def test_text_that_is_no_text_is_refused(opened: Any) -> None:
    async def scenario() -> None:
        async with opened() as store:
            with pytest.raises(StoreError, match="surrogate"):
                await graph_of(store).put_node("g", "\ud800", {})
            with pytest.raises(StoreError, match="characters at most"):
                await graph_of(store).relate("g", Relation("a", "k" * 2000, "b"))

    asyncio.run(scenario())


def test_documents_can_be_asked_for_in_cypher(opened: Any) -> None:
    async def scenario() -> None:
        name = f"cypher_{new_id()}"
        async with opened() as store:
            document = {"_id": 7, "title": "tea", "at": datetime(2026, 1, 2, tzinfo=UTC), "from": {"city": "Ulm"}}
            await records_of(store).insert(name, document)
            found = await store.native.execute_query(
                f"MATCH (d:`aats.{name}` {{title: 'tea'}}) RETURN d.`from.city` AS city, d._id AS id, d.at.year AS year"
            )
            assert [record.data() for record in found.records] == [{"city": "Ulm", "id": 7, "year": 2026}]

    asyncio.run(scenario())


FILTERS: tuple[dict[str, Any], ...] = (
    {"a": 1},
    {"a": {"$gt": 1}},
    {"a": {"$lte": 2**53}},
    {"a": {"$in": ["x", 3, None]}},
    {"a": {"$ne": 1}},
    {"a": None},
    {"a": {"$exists": False}},
    {"a": {"$type": "string"}},
    {"$or": [{"a": "x"}, {"b.c": {"$gte": 2}}]},
    {"$nor": [{"a": {"$lt": 2}}]},
    {"a": {"$regex": "^x"}},
    {"a": True},
    {"a": Decimal("0.1")},
    {"a": {"$gt": Decimal("0.1")}},
)
DOCUMENTS: tuple[dict[str, Any], ...] = tuple(
    {"_id": number, **fields}
    for number, fields in enumerate(
        (
            {}, {"a": None}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "x"}, {"a": "xy"}, {"a": [1, "x"]}, {"a": []},
            {"a": 2**53 + 1}, {"a": 2.0**53}, {"a": Decimal("0.1")}, {"a": 0.1}, {"a": [Decimal("0.1"), 5]},
            {"a": {"b": 1}}, {"a": "x" * 600}, {"b": {"c": 3}}, {"b": [{"c": 1}, {"c": 9}]}, {"a": float("nan")},
            {"a": float("inf")}, {"a": b"x"}, {"a": 2**62}, {"a": [2**53 + 1]}, {"a": -(2**53) - 1},
        )
    )
)  # fmt: skip


@pytest.mark.parametrize("indexed", [False, True])
def test_the_server_counts_and_sorts_what_the_evaluator_does(opened: Any, *, indexed: bool) -> None:
    async def scenario() -> None:
        name, plain = f"odd_{new_id()}", f"plain_{new_id()}"
        async with opened() as store:
            records = records_of(store)
            if indexed:
                await records.ensure(name, Schema(indexes=(Index({"a": 1}), Index({"b.c": -1, "a": 1}))))
            await records.insert(name, *DOCUMENTS)
            every = await records.find(name)
            for wanted in FILTERS:
                found = await records.find(name, wanted, sort={"_id": 1})
                assert await records.count(name, wanted) == len(found), wanted
                async with records.transaction() as inside:  # which evaluates it all
                    assert repr(await inside.find(name, wanted, sort={"_id": 1})) == repr(found), wanted
            await records.insert(plain, *({"_id": n, "n": n % 7, "s": f"{n % 3}", "f": n / 2} for n in range(50)))
            ordered = await records.find(plain, sort={"s": -1, "n": 1, "_id": 1})
            for skip, limit in ((0, 5), (7, 20), (49, 5)):
                page = await records.find(plain, sort={"s": -1, "n": 1, "_id": 1}, skip=skip, limit=limit)
                assert page == ordered[skip : skip + limit]
            assert len(every) == len(DOCUMENTS)

    asyncio.run(scenario())


def test_groups_are_the_same_whoever_makes_them(opened: Any) -> None:
    async def scenario() -> None:
        name = f"groups_{new_id()}"
        async with opened() as store:
            records = records_of(store)
            await records.insert(
                name, *({"_id": n, "k": "ab"[n % 2], "n": n, "day": DAY} for n in range(10)), {"_id": 10}
            )
            sums = {"count": {"$sum": 1}, "all": {"$sum": "$n"}, "mean": {"$avg": "$n"}, "most": {"$max": "$n"}}
            for by in ("$k", None, "$day"):
                pipeline: list[dict[str, Any]] = [{"$group": {"_id": by, **sums}}]
                made = await records.aggregate(name, pipeline)
                evaluated = await records.aggregate(name, [*pipeline, {"$match": {}}])
                assert sorted(made, key=str) == sorted(evaluated, key=str)
            await records.insert(name, {"_id": 11, "k": "a", "n": 2**52}, {"_id": 12, "k": "a", "n": 0.5})
            made = await records.aggregate(name, [{"$match": {"k": "a"}}, {"$group": {"_id": "$k", **sums}}])
            assert made == [{"_id": "a", "count": 7, "all": 2**52 + 20.5, "mean": (2**52 + 20.5) / 7, "most": 2**52}]

    asyncio.run(scenario())


DAY = datetime(2026, 3, 4, 5, tzinfo=UTC)


ODD = ("s", True, None, 0.5, 2.0, DAY, [1], [], {"b": 1}, Decimal("0.5"), 2**53, -(2**53), 2**62, float("nan"))


@pytest.mark.parametrize("field", ["k", "n", "o.n"])
def test_groups_are_the_same_whatever_else_is_among_the_values(opened: Any, field: str) -> None:
    async def scenario() -> None:
        name = f"groups_{new_id()}"
        first, *rest = field.split(".")
        async with opened() as store:
            records = records_of(store)
            await records.insert(name, *({"_id": n, "k": 2, "n": n, "o": {"n": n}} for n in range(20)))
            made_of = {each: {f"${each}": f"${field}"} for each in ("sum", "avg", "min", "max")}
            pipeline: list[dict[str, Any]] = [{"$group": {"_id": "$k", "count": {"$count": {}}, **made_of}}]
            for odd in ODD:
                await records.write([Put(name, {"_id": "odd", "k": 2, "n": 5, first: {rest[0]: odd} if rest else odd})])
                made = await records.aggregate(name, pipeline)
                evaluated = await records.aggregate(name, [*pipeline, {"$match": {}}])
                assert sorted(map(repr, made)) == sorted(map(repr, evaluated)), odd

    asyncio.run(scenario())


def test_a_sum_that_no_integer_holds_is_a_float(opened: Any) -> None:
    async def scenario() -> None:
        name = f"large_{new_id()}"
        async with opened() as store:
            records = records_of(store)
            await records.insert(name, *({"n": 2**53} for _ in range(1100)))
            made = await records.aggregate(
                name, [{"$group": {"_id": None, "sum": {"$sum": "$n"}, "most": {"$max": "$n"}}}]
            )
            assert repr(made) == repr([{"_id": None, "sum": 1100.0 * 2**53, "most": 2**53}])

    asyncio.run(scenario())


def test_documents_that_are_alike_and_others_are_added_together_or_not_at_all(opened: Any) -> None:
    async def scenario() -> None:
        name = f"alike_{new_id()}"
        alike = [{"_id": n, "word": f"w{n}", "tags": ["a", n], "of": {"a b": n / 2}} for n in range(250)]
        others: list[dict[str, Any]] = [{"_id": f"o{n}", f"field{n}": n, "`] //": n} for n in range(20)]
        async with opened() as store:
            records = records_of(store)
            for part in (alike, others, [*alike, *others]):
                await records.delete(name, {})
                await records.insert(name, *part)
                assert sorted(map(repr, await records.find(name))) == sorted(map(repr, part))
                assert await records.count(name, {"of.a b": {"$lt": 5}}) == (10 if part is not others else 0)
                new = [{**each, "_id": f"new {each['_id']}"} for each in part]
                with pytest.raises(DuplicateKey):
                    await records.insert(name, *new, part[-1])
                assert await records.count(name) == len(part)

    asyncio.run(scenario())


def test_what_one_store_wrote_another_one_reads_that_follows_its_bookmarks(opened: Any) -> None:
    async def scenario() -> None:
        name = f"marks_{new_id()}"
        async with opened() as one, opened() as other:
            await records_of(one).insert(name, {"_id": 1})
            bookmarks = await one.bookmarks()
            assert bookmarks
            other.follow(bookmarks)
            assert await records_of(other).find(name) == [{"_id": 1}]

    asyncio.run(scenario())


def test_a_cluster_is_found_by_routing(server: Any, opened: Any) -> None:
    async def scenario() -> None:
        name = f"routed_{new_id()}"
        async with opened(uri=server.url.replace("bolt://", "neo4j://")) as store:
            await records_of(store).insert(name, {"_id": 1})
            assert await records_of(store).count(name) == 1

    asyncio.run(scenario())


def test_a_server_is_checked_over_tls(own_server: Any, opened: Any, tmp_path: Any) -> None:
    async def scenario() -> None:
        async with opened(tls=TlsSettings(ca=own_server.authority)) as store:
            assert await graph_of(store).node("g", "nobody") is None
        stranger = tmp_path / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(stranger)
        with pytest.raises(StoreUnavailable, match="`tls`"):
            async with opened(tls=TlsSettings(ca=stranger), timeout=600.0):
                pass

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_slow_statement_is_logged_with_its_plan_and_without_its_values(
    opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with opened(slow=1e-9) as store:
            with caplog.at_level(logging.WARNING, "aats.store.neo4j"):
                await records_of(store).find(f"slow_{new_id()}", {"a": "confidential"})
                async with asyncio.timeout(20):
                    while "NodeByLabelScan" not in caplog.text:
                        await records_of(store).find(f"slow_{new_id()}", {"a": "confidential"})
                        await asyncio.sleep(0.01)
            assert "confidential" not in caplog.text

    asyncio.run(scenario())


def test_data_of_a_newer_version_are_left_alone(opened: Any) -> None:
    async def scenario() -> None:
        async with opened() as store:
            await store.native.execute_query("MATCH (n:AatsLayout) SET n.version = 99")
            try:
                with pytest.raises(StateTooNew, match="99"):
                    async with opened():
                        pass
            finally:
                await store.native.execute_query("MATCH (n:AatsLayout) SET n.version = 1")

    asyncio.run(scenario())


@pytest.mark.parametrize("uri", ["http://host", "bolt://user:secret@host", "bolt://host?x=1", "host:7687"])
def test_an_address_that_cannot_be_one_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError, match="an address looks like neo4j://host:7687"):
        Neo4jStore.Settings(uri=uri)


@pytest.mark.parametrize("uri", ["bolt://host", "neo4j+s://host:7687", "bolt+ssc://[::1]:7687/"])
def test_an_address_that_can_be_one_is_taken(uri: str) -> None:
    assert Neo4jStore.Settings(uri=uri).uri == uri


def test_namespaces_are_told_apart(server: Any, tmp_path: Any) -> None:
    async def scenario() -> None:
        name = f"spaces_{new_id()}"
        settings = Neo4jStore.Settings(uri=server.url, password=SecretStr(PASSWORD), timeout=30.0)
        stores = [
            Neo4jStore(settings, TeamInfo(state_dir=tmp_path, namespace=space), RealClock()) for space in ("one", "two")
        ]
        for store in stores:
            await store.connect()
        try:
            await records_of(stores[0]).insert(name, {"_id": 1})
            await graph_of(stores[0]).put_node(name, "a", {"text": "tea"})
            assert await records_of(stores[1]).count(name) == 0
            assert await graph_of(stores[1]).search(name, "tea") == []
        finally:
            for store in stores:
                await store.close()

    asyncio.run(scenario())
