"""Walks over a graph, in Cypher or by the procedures of APOC; both find the same."""

from __future__ import annotations

from aats_core.storage.traversal import Direction
from aats_store_neo4j.layout import NODE

MOST_STEPS = 1_000_000
"""Steps that a walk may take; nobody's graph is deeper."""


_ARROWS = {Direction.OUT: ("-", "->"), Direction.IN: ("<-", "-"), Direction.BOTH: ("-", "-")}
_HINTS = {Direction.OUT: ("", ">"), Direction.IN: ("<", ""), Direction.BOTH: ("", "")}


def reach(kind: str | None, direction: Direction, depth: int) -> str:
    """Return the statement for the ids within so many steps of the node `$key`, nearest first; `kind` is quoted."""
    before, after = _ARROWS[direction]
    of_kind = f":{kind}" if kind else ""
    if depth == 1:
        return (
            f"MATCH (s:{NODE} {{`aats:key`: $key}}){before}[{of_kind}]{after}(n:{NODE})"
            " WHERE n <> s WITH DISTINCT n.`aats:id` AS id ORDER BY id RETURN collect(id)"
        )
    return (
        f"MATCH p = (s:{NODE} {{`aats:key`: $key}}){before}[{of_kind}*1..{depth}]{after}(n:{NODE}) WHERE n <> s"
        " WITH n, min(length(p)) AS steps ORDER BY steps, n.`aats:id` RETURN collect(n.`aats:id`)"
    )


def reach_by_apoc(kind: str | None, direction: Direction) -> tuple[str, str]:
    """Return the statement that finds the same as `reach` within `$depth` steps, and its `$types`."""
    before, after = _HINTS[direction]
    statement = (
        f"MATCH (s:{NODE} {{`aats:key`: $key}}) CALL apoc.neighbors.byhop(s, $types, $depth) YIELD nodes"
        " WITH s, collect(nodes) AS hops UNWIND range(0, size(hops) - 1) AS step UNWIND hops[step] AS n"
        f" WITH s, step, n WHERE n:{NODE} AND n <> s WITH step, n.`aats:id` AS id ORDER BY step, id RETURN collect(id)"
    )
    return statement, f"{before}{(kind or '').strip('`')}{after}"


def shortest_path(kind: str | None, depth: int) -> str:
    """Return the statement for the ids along a shortest way from the node `$source` to another, `$target`."""
    of_kind = f":{kind}" if kind else ""
    return (
        f"MATCH (a:{NODE} {{`aats:key`: $source}}), (b:{NODE} {{`aats:key`: $target}})"
        f" MATCH p = shortestPath((a)-[{of_kind}*..{depth}]->(b)) RETURN [n IN nodes(p) | n.`aats:id`] AS ids"
    )
