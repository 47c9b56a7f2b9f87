"""Graphs: nodes, relations between them, ways along these, and full-text search."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import StoreError
from aats_core.store import GraphStore, Relation
from aats_core.testing.stores_harness import StoreHarness, promise

LETTERS = "abcdefg"


class GraphPromises(StoreHarness[GraphStore]):
    """Nodes with properties, and directed relations between them."""

    async def _chain(self, graphs: GraphStore) -> str:
        """Make a -> b -> c -> d by `next`, with a -> d by `skip` and c -> a by `back`."""
        name = self.new_name()
        await graphs.relate(
            name,
            *(Relation(source, "next", target) for source, target in ("ab", "bc", "cd")),
            Relation("a", "skip", "d"),
            Relation("c", "back", "a"),
        )
        return name

    @promise()
    async def test_a_node_has_the_properties_put_last(self, graphs: GraphStore) -> None:
        name = self.new_name()
        assert await graphs.node(name, "a") is None
        await graphs.put_node(name, "a", {"n": 1, "deep": {"list": [1, None, "x"]}})
        await graphs.put_node(name, "b", {})
        await graphs.put_node(name, "a", {"m": 2})
        assert await graphs.node(name, "a") == {"m": 2}
        assert await graphs.node(name, "b") == {}
        assert await graphs.node(self.new_name(), "a") is None

    @promise()
    async def test_relating_makes_missing_nodes_and_keeps_those_that_are_there(self, graphs: GraphStore) -> None:
        name = self.new_name()
        await graphs.put_node(name, "a", {"n": 1})
        await graphs.relate(name, Relation("a", "knows", "b"))
        assert await graphs.node(name, "a") == {"n": 1}
        assert await graphs.node(name, "b") == {}

    @promise()
    async def test_relating_again_is_the_same_relation(self, graphs: GraphStore) -> None:
        name = self.new_name()
        await graphs.relate(name, Relation("a", "knows", "b", {"since": 1}))
        await graphs.relate(name, Relation("a", "knows", "b", {"since": 2}), Relation("a", "likes", "b"))
        assert await graphs.neighbours(name, "a") == ["b"]
        assert await graphs.unrelate(name, "a", "knows", "b")
        assert not await graphs.unrelate(name, "a", "knows", "b")
        assert await graphs.neighbours(name, "a", kind="knows") == []
        assert await graphs.neighbours(name, "a", kind="likes") == ["b"]

    @promise()
    async def test_deleting_a_node_deletes_its_relations(self, graphs: GraphStore) -> None:
        name = await self._chain(graphs)
        assert await graphs.delete_node(name, "b")
        assert not await graphs.delete_node(name, "b")
        assert await graphs.node(name, "b") is None
        assert await graphs.neighbours(name, "a") == ["d"]
        await graphs.put_node(name, "b", {})
        assert await graphs.neighbours(name, "b", direction="both") == []

    @promise()
    async def test_neighbours_go_by_direction_and_kind(self, graphs: GraphStore) -> None:
        name = await self._chain(graphs)
        assert sorted(await graphs.neighbours(name, "a")) == ["b", "d"]
        assert await graphs.neighbours(name, "a", kind="next") == ["b"]
        assert await graphs.neighbours(name, "a", direction="in") == ["c"]
        assert sorted(await graphs.neighbours(name, "a", direction="both")) == ["b", "c", "d"]
        assert await graphs.neighbours(name, "d") == []
        assert await graphs.neighbours(name, "nobody") == []
        async with self.expect(StoreError, "sideways"):
            await graphs.neighbours(name, "a", direction="sideways")

    @promise()
    async def test_neighbours_within_some_steps_come_nearest_first(self, graphs: GraphStore) -> None:
        name = await self._chain(graphs)
        assert await graphs.neighbours(name, "a", kind="next", depth=2) == ["b", "c"]
        assert await graphs.neighbours(name, "a", kind="next", depth=9) == ["b", "c", "d"]
        found = await graphs.neighbours(name, "a", depth=9)
        assert (set(found[:2]), found[2:]) == ({"b", "d"}, ["c"])

    @promise()
    async def test_a_shortest_path_has_both_ends(self, graphs: GraphStore) -> None:
        name = await self._chain(graphs)
        assert await graphs.shortest_path(name, "a", "d") == ["a", "d"]
        assert await graphs.shortest_path(name, "a", "d", kind="next") == ["a", "b", "c", "d"]
        assert await graphs.shortest_path(name, "b", "a") == ["b", "c", "a"]
        assert await graphs.shortest_path(name, "d", "a") is None
        assert await graphs.shortest_path(name, "a", "a") == ["a"]
        assert await graphs.shortest_path(name, "a", "nobody") is None
        assert await graphs.shortest_path(name, "nobody", "nobody") is None

    @promise()
    async def test_a_shortest_path_has_no_more_steps_than_allowed(self, graphs: GraphStore) -> None:
        name = await self._chain(graphs)
        assert await graphs.shortest_path(name, "a", "d", kind="next", max_depth=3) == ["a", "b", "c", "d"]
        assert await graphs.shortest_path(name, "a", "d", kind="next", max_depth=2) is None

    @promise()
    async def test_graphs_are_told_apart(self, graphs: GraphStore) -> None:
        name, other = await self._chain(graphs), self.new_name()
        await graphs.put_node(other, "a", {"text": "elsewhere"})
        assert await graphs.neighbours(other, "a") == []
        assert await graphs.search(name, "elsewhere") == []

    @promise()
    async def test_a_search_finds_nodes_that_hold_all_the_words_best_first(self, graphs: GraphStore) -> None:
        name = self.new_name()
        await graphs.put_node(name, "short", {"title": "Green tea"})
        await graphs.put_node(name, "long", {"title": "Tea", "notes": ["green things", "and many other words besides"]})
        await graphs.put_node(name, "other", {"title": "Black tea", "n": 5})
        await graphs.put_node(name, "another", {"title": "Green grass"})
        found = await graphs.search(name, "GREEN tea")
        assert [node for node, _ in found] == ["short", "long"]
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        assert len(await graphs.search(name, "tea", limit=2)) == 2
        assert await graphs.search(name, "coffee") == []
        assert await graphs.search(name, '"*') == []

    @promise()
    async def test_a_search_knows_what_changed(self, graphs: GraphStore) -> None:
        name = self.new_name()
        await graphs.put_node(name, "a", {"title": "before"})
        await graphs.put_node(name, "a", {"title": "after"})
        await graphs.put_node(name, "b", {"title": "after"})
        await graphs.delete_node(name, "b")
        assert await graphs.search(name, "before") == []
        assert [node for node, _ in await graphs.search(name, "after")] == ["a"]

    @promise("reopening")
    async def test_a_graph_outlives_the_store(self, graphs: GraphStore) -> None:
        name = await self._chain(graphs)
        async with self.client() as again:
            assert await again.shortest_path(name, "a", "c") == ["a", "b", "c"]

    def test_ways_are_shortest_in_any_graph(self) -> None:
        pairs = st.tuples(st.sampled_from(LETTERS), st.sampled_from(LETTERS))
        store = self.make_store()

        async def check(graphs: GraphStore, edges: list[Any], start: str, end: str) -> None:
            name = self.new_name()
            await graphs.relate(name, *(Relation(source, "to", target) for source, target in edges))
            distances = _distances(edges, start)
            path = await graphs.shortest_path(name, start, end)
            if path is None:
                assert end not in distances or (start == end and start not in {e for pair in edges for e in pair})
            else:
                assert len(path) - 1 == distances[end]
                assert (path[0], path[-1]) == (start, end)
                assert all(step in set(edges) for step in itertools.pairwise(path))
            found = await graphs.neighbours(name, start, depth=2)
            assert sorted(found) == sorted(node for node, steps in distances.items() if 0 < steps <= 2)
            assert [distances[node] for node in found] == sorted(distances[node] for node in found)

        with asyncio.Runner() as runner:
            runner.run(store.connect())
            graphs = self.offered(store)
            cases = st.tuples(st.lists(pairs, max_size=12), st.sampled_from(LETTERS), st.sampled_from(LETTERS))
            try:
                self.for_examples()(given(cases)(lambda case: runner.run(check(graphs, *case))))()
            finally:
                runner.run(store.close())


def _distances(edges: list[tuple[str, str]], start: str) -> dict[str, int]:
    distances, frontier = {start: 0}, [start]
    while frontier:
        node = frontier.pop(0)
        for source, target in edges:
            if source == node and target not in distances:
                distances[target] = distances[node] + 1
                frontier.append(target)
    return distances
