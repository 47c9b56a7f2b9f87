"""New documents that are alike travel as columns: each node is as if it had been made alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aats_store_neo4j import columns
from aats_store_neo4j.native import native_values

from aats_core.message import new_id

DAY = datetime(2026, 3, 4, 5, tzinfo=UTC)

COLUMNS: dict[str, list[Any]] = {
    "plain": ["a", "b", "", " ", "\u00e9\u4e2d\U0001f600", "\\n", "\r", "'] //", "` }"],
    "broken": ["a", "b\n", "\nc", "", "\n", "\n\n"],
    "empty": [""],
    "long": ["x" * 500, "y"],
    "integers": [0, 1, -1, 2**53, -(2**53)],
    "floats": [0.0, -0.0, 1.0, 1.5],
    "mixed": [1, True, 1.0, "1", False],
    "true": [True],
    "one": [1],
    "day": [DAY],
    "all": [["a", "b"]],
    "lists": [[1, "a"], ["b"], [None], [True]],
    "objects": [{"a": 1, "b": "c"}],
}


@pytest.mark.parametrize("number", [99, 100, 150])
def test_each_node_has_the_properties_of_its_own(opened: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    documents = [
        {"_id": f"{n}", **{name: values[n % len(values)] for name, values in COLUMNS.items()}} for n in range(number)
    ]
    expected = {document["_id"]: repr(sorted(native_values(document).items())) for document in documents}

    async def scenario() -> None:
        name = f"columns_{new_id()}"
        async with opened() as store:
            (records, _) = store.capabilities
            assert await records.insert(name, *documents) == list(expected)
            found = await store.native.execute_query(f"MATCH (d:`aats.{name}`) RETURN properties(d)")
            assert {node["_id"]: repr(sorted(node.items())) for node in map(_own, found.records)} == expected
            assert sorted(map(repr, await records.find(name))) == sorted(map(repr, documents))

    monkeypatch.setattr(columns, "_LONGEST", 3000)  # so that some texts are sent one by one
    asyncio.run(scenario())


def _own(record: Any) -> dict[str, Any]:
    """Return the properties that stand for what a document holds."""
    kept = {"aats:key", "aats:id", "aats:body"}
    node = {name: value for name, value in record[0].items() if name not in kept}
    return {**node, "day": node["day"].to_native().astimezone(UTC)}


def test_a_statement_makes_so_many_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_MOST", 120)
    alike = [{"a": f"{n}"} for n in range(250)]
    others = [{f"a{n}": n} for n in range(130)]
    made = columns.inserts("Label", [*alike, *others])
    assert [each.number for each in made] == [120, 120, 10, 120, 10]
    assert sum(len(each.parameters["rows"]) for each in made if "rows" in each.parameters) == len(others)
