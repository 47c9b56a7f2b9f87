"""The keys of a plan file and what each of them holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aats_core.plans.limits import out_of_range
from aats_core.plans.names import clean_name
from aats_core.plans.tree import Node
from aats_core.task import Plan, Retries, Task, When

Reader = Callable[[Node, float], Any]
"""Reads a node, given the Unix time from which relative deadlines count; `None` means a problem has been noted."""

_RETRIES: Mapping[str, Reader] = {
    "limit": lambda node, _: node.integer(),
    "backoff": lambda node, _: node.seconds(),
    "factor": lambda node, _: node.number(),
    "max_backoff": lambda node, _: node.seconds(),
    "jitter": lambda node, _: node.number(),
    "lost": lambda node, _: node.integer(),
}


def _read_retries(node: Node, now: float) -> Retries | None:
    if not isinstance(node.value, dict):
        limit = node.integer()
        return None if limit is None else Retries(limit=limit)
    return Retries(**_read_fields(node, _RETRIES, now, what="retries"))


def _read_needs(node: Node, _now: float) -> tuple[str, ...] | None:
    items = node.items(what="task names, such as [lint, build]")
    return None if items is None else tuple(item.text() or "" for item in items)


def _read_payload(node: Node, _now: float) -> Any:
    if node.value is None:
        node.wrong("is empty, must be a value")
    return node.plain()


def _read_resources(node: Node, _now: float) -> dict[str, float] | None:
    entries = node.entries()
    if entries is None:
        return None
    amounts = {name: entry.number() for name, entry in entries.items()}
    return {name: amount for name, amount in amounts.items() if amount is not None}


_DEFAULTS: Mapping[str, Reader] = {
    "kind": lambda node, _: node.text(),
    "priority": lambda node, _: node.integer(),
    "retries": _read_retries,
    "timeout": lambda node, _: node.seconds(),
    "resources": _read_resources,
    "estimate": lambda node, _: node.seconds(),
}

_TASK: Mapping[str, Reader] = {
    **_DEFAULTS,
    "payload": _read_payload,
    "needs": _read_needs,
    "when": lambda node, _: node.choice(When),
    "deadline": lambda node, now: node.deadline(now),
    "description": lambda node, _: node.text(),
}

_PLAN: Mapping[str, Reader] = {
    "name": lambda node, _: node.text(),
    "description": lambda node, _: node.text(),
    "priority": lambda node, _: node.integer(),
    "deadline": lambda node, now: node.deadline(now),
    "inputs": lambda node, _: node.plain() if node.entries() is not None else None,
    "defaults": lambda node, now: _read_defaults(node, now),
}


def read_plan_tree(root: Node, *, now: float, name: str) -> Plan:
    """Return the plan that a file's tree describes, as far as it can be read; the rest is noted as problems.

    `name` is the plan's name if the tree gives none.
    """
    keys = dict.fromkeys((*_PLAN, "tasks"))
    nodes = root.fields(keys, what="a plan")
    tasks = nodes.pop("tasks", None)
    fields = {key: read for key, node in nodes.items() if (read := _PLAN[key](node, now)) is not None}
    defaults = fields.pop("defaults", {})
    entries = (tasks.entries() if tasks else None) or {}
    read = tuple(_read_task(key, entry, defaults, now) for key, entry in entries.items())
    return Plan(**{"name": clean_name(name, fallback="plan"), **fields}, tasks=read)


def _read_defaults(node: Node, now: float) -> dict[str, Any]:
    """Return the defaults that are in range, so that a bad one is one problem and not one of every task."""
    fields = _read_fields(node, _DEFAULTS, now, what="defaults")
    for steps, text in out_of_range(Task(**{"kind": "", **fields}, name="")):
        node.problems.add(node.where + steps, text)
        fields.pop(str(steps[0]), None)
    return fields


def _read_task(name: str, node: Node, defaults: dict[str, Any], now: float) -> Task:
    if not isinstance(node.value, dict):
        node.wrong("a task must be a mapping with at least a kind, such as {kind: shell.run}")
        return Task(name, "")
    return Task(**{"kind": "", **defaults, **_read_fields(node, _TASK, now, what="a task")}, name=name)


def _read_fields(node: Node, readers: Mapping[str, Reader], now: float, *, what: str) -> dict[str, Any]:
    nodes = node.fields(readers, what=what)
    return {key: read for key, field in nodes.items() if (read := readers[key](field, now)) is not None}
