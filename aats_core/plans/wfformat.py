"""Traces in WfFormat, the format of the WfCommons project, read as plans."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aats_core.plans.names import clean_name, clean_names
from aats_core.plans.place import Where
from aats_core.plans.tree import Node
from aats_core.task import Plan, Task

VERSION = "1.5"
"""The version of WfFormat that is understood."""

_NUMBER = re.compile(r"_(?:ID)?\d+$")


def is_trace(tree: Any) -> bool:
    """Tell whether a file's tree is a trace rather than a plan."""
    return isinstance(tree, dict) and "tasks" not in tree and ("workflow" in tree or "schemaVersion" in tree)


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as a plan: `durations` are measured seconds by task name, `moved` is where each task stands."""

    plan: Plan
    durations: dict[str, float]
    moved: dict[Where, Where]


def read_trace(root: Node, *, name: str) -> Trace:
    """Return the plan that a trace describes, as far as it can be read; the rest is noted as problems.

    A task is named by its id, changed where a task cannot have that name. Its kind is the program it ran, if the
    trace's name for it begins with that, else that name without the number at its end. It needs its parents, and
    every task that has it among its children. Where no run time was measured, `durations` has none.
    """
    workflow = _mapping(root, "workflow")
    version = root.value.get("schemaVersion")
    if str(version) != VERSION:
        place = root.child("schemaVersion") if "schemaVersion" in root.value else root
        place.wrong(f"is WfFormat {version or 'without a version'}, only {VERSION} can be read")
        return Trace(Plan(_plan_name(root, name), ()), {}, {})
    entries = _entries(_mapping(workflow, "specification") if workflow else None)
    names = clean_names(entries, fallback="task")
    runs = _runs(_mapping(workflow, "execution") if workflow and workflow.value.get("execution") else None)
    needs = _read_needs(entries, names)
    tasks = tuple(
        Task(names[key], _kind(entry, runs.get(key)), needs=tuple(needs[names[key]])) for key, entry in entries.items()
    )
    plan = Plan(_plan_name(root, name), tasks)
    moved: dict[Where, Where] = {("tasks", names[key]): entry.where for key, entry in entries.items()}
    return Trace(plan, _read_durations(runs, names), moved)


def _plan_name(root: Node, name: str) -> str:
    given = root.value.get("name")
    return clean_name(given if isinstance(given, str) and given else name, fallback="trace")


def _mapping(node: Node, key: str) -> Node | None:
    if key not in node.value:
        node.wrong(f"the trace has no {key!r} here")
        return None
    child = node.child(key)
    return child if child.entries() is not None else None


def _entries(specification: Node | None) -> dict[str, Node]:
    """Return the entries of the tasks by id; those without an id, or with that of another, are problems."""
    found: dict[str, Node] = {}
    for entry in _listed(specification):
        if entry.value.get("id", "") == "":
            entry.wrong("has no id")
            continue
        key = entry.child("id").text()
        if key in found:
            entry.child("id").wrong(f"another task has the id {key!r} too")
        elif key is not None:
            found[key] = entry
    return found


def _runs(execution: Node | None) -> dict[str, Node]:
    """Return what was measured by task id; entries without an id are passed over."""
    return {str(entry.value["id"]): entry for entry in _listed(execution) if "id" in entry.value}


def _listed(node: Node | None) -> list[Node]:
    """Return the mappings in the list `tasks` of a node."""
    if node is None or "tasks" not in node.value:
        return []
    entries = node.child("tasks").items(what="tasks") or ()
    return [entry for entry in entries if entry.entries() is not None]


def _kind(entry: Node, run: Node | None) -> str:
    """Return the program that the task's name begins with, else the name without its number."""
    name = entry.value.get("name") or entry.value["id"]
    command = run.value.get("command") if run else None
    program = command.get("program") if isinstance(command, dict) else None
    if isinstance(program, str) and program and f"{name}_".startswith(f"{program}_"):
        return program
    return _NUMBER.sub("", str(name)) or str(name)


def _read_needs(entries: Mapping[str, Node], names: Mapping[str, str]) -> dict[str, dict[str, None]]:
    """Return the needs of each task by its name, each need once and in the order of the trace."""
    needs: dict[str, dict[str, None]] = {name: {} for name in names.values()}
    for key, entry in entries.items():
        for parent in _linked(entry, "parents", names):
            needs[names[key]][parent] = None
    for key, entry in entries.items():
        for child in _linked(entry, "children", names):
            needs[child][names[key]] = None
    return needs


def _linked(entry: Node, key: str, names: Mapping[str, str]) -> Iterator[str]:
    if key not in entry.value:
        return
    for item in entry.child(key).items(what="task ids") or ():
        linked = item.text()
        if linked is None:
            continue
        if linked in names:
            yield names[linked]
        else:
            item.wrong(f"no task has the id {linked!r}{entry.problems.hint(linked, names)}")


def _read_durations(runs: Mapping[str, Node], names: Mapping[str, str]) -> dict[str, float]:
    """Return the measured run times; entries of other tasks, and those without a run time, are passed over."""
    durations: dict[str, float] = {}
    for key, run in runs.items():
        if key in names and run.value.get("runtimeInSeconds") is not None:
            measured = run.child("runtimeInSeconds").seconds()
            if measured is not None:
                durations[names[key]] = measured
    return durations
