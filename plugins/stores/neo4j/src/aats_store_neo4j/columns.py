"""How new nodes travel: many that have the same properties as columns, of which texts are one text together.

The driver takes longer over each value that it sends than all else that is done for it, and the server splits a text
sooner than it reads a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_ALIKE = 100
"""Nodes with the same properties for which it is worth that the server plans a statement of their own."""
_MOST = 10_000
"""Nodes that one statement makes."""
_LONGEST = 16 * 1024 * 1024
"""Characters of a text that is split."""

_BREAK = "\n"
"""What stands between texts; JSON has none."""


class Insert(NamedTuple):
    """What makes new nodes: the part of a statement, what it has to be given, and how many nodes these are."""

    cypher: str
    parameters: dict[str, Any]
    number: int


def inserts(labels: str, nodes: Sequence[Mapping[str, Any]]) -> list[Insert]:
    """Return what makes nodes of these labels with these properties."""
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for node in nodes:
        alike.setdefault(tuple(node), []).append(node)
    made: list[Insert] = []
    others: list[Mapping[str, Any]] = []
    for each in alike.values():
        if len(each) < _ALIKE:
            others += each
        else:
            made += [_of_columns(labels, each[at : at + _MOST]) for at in range(0, len(each), _MOST)]
    for at in range(0, len(others), _MOST):
        rows = others[at : at + _MOST]
        made.append(Insert(f"UNWIND $rows AS row CREATE (d:{labels}) SET d = row", {"rows": rows}, len(rows)))
    return made


def _of_columns(labels: str, nodes: Sequence[Mapping[str, Any]]) -> Insert:
    texts: list[str] = []
    properties: list[str] = []
    parameters: dict[str, Any] = {"last": len(nodes) - 1}
    for number, name in enumerate(nodes[0]):
        column = [node[name] for node in nodes]
        value, parameter = f"c{number}", f"$c{number}"
        kinds = {*map(type, column)}
        if kinds == {str} and (text := _together(column)) is not None:
            parameters[value] = text
            texts.append(f"split({parameter}, '\\n') AS {value}")
            properties.append(f"`{name}`: {value}[i]")
        elif kinds <= _SAME and column.count(column[0]) == len(column):
            parameters[value] = column[0]
            properties.append(f"`{name}`: {parameter}")
        else:
            parameters[value] = column
            properties.append(f"`{name}`: {parameter}[i]")
    split = f"WITH {', '.join(texts)} " if texts else ""
    cypher = f"{split}UNWIND range(0, $last) AS i CREATE (d:{labels} {{{', '.join(properties)}}})"
    return Insert(cypher, parameters, len(nodes))


_SAME = frozenset({bool, list})
"""Types of properties that many nodes have alike, and of which equal ones are the same."""


def _together(column: Sequence[str]) -> str | None:
    text = _BREAK.join(column)
    return text if len(text) <= _LONGEST and text.count(_BREAK) == len(column) - 1 else None
