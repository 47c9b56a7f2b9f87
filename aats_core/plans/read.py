"""Plan files: reading one, and refusing what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePath
from typing import Any

import msgspec

from aats_core.errors import Refused
from aats_core.plans.check import find_problems
from aats_core.plans.document import Document, Malformed
from aats_core.plans.jsontext import decode_json
from aats_core.plans.place import Places, Problems
from aats_core.plans.schema import read_plan_tree
from aats_core.plans.tomltext import decode_toml
from aats_core.plans.tree import Node
from aats_core.plans.wfformat import is_trace, read_trace
from aats_core.plans.yamltext import decode_yaml
from aats_core.task import Plan

MAX_BYTES = 16 * 1024 * 1024
"""How large a plan file may be."""

_DECODERS: Mapping[str, Callable[[str], Document]] = {
    ".yaml": decode_yaml,
    ".yml": decode_yaml,
    ".json": decode_json,
    ".toml": decode_toml,
}


class PlanSource(msgspec.Struct, frozen=True):
    """A plan that was read, and what its file says besides.

    `durations` are the measured run times of a trace, in seconds by task name; empty for a plan file. `places`
    says where each part stands, for `check_plan`.
    """

    plan: Plan
    durations: dict[str, float]
    places: Places


def read_plan(
    path: str | Path,
    *,
    now: float,
    inputs: Mapping[str, Any] | None = None,
    kinds: Collection[str] | None = None,
) -> PlanSource:
    """Read a plan file (YAML, JSON or TOML, by its suffix) or a WfFormat trace, and check it.

    Relative deadlines count from `now` (Unix seconds). `inputs` take the place of inputs that the plan has. Raises
    `Refused` with every problem of the file, those of `check_plan` included, each with its place.
    """
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Refused([f"{source}: cannot be read: {reason}"], source=source) from error
    return parse_plan(data, source=source, now=now, inputs=inputs, kinds=kinds)


def parse_plan(
    data: bytes,
    *,
    source: str,
    now: float,
    inputs: Mapping[str, Any] | None = None,
    kinds: Collection[str] | None = None,
) -> PlanSource:
    """Do what `read_plan` does with bytes that have been read; `source` is their file's name."""
    try:
        document = _decode(data, source)
    except Malformed as error:
        place = f"{source}:{error.line}" if error.line else source
        raise Refused([f"{place}: {error}"], source=source) from error
    places = Places(source, document.marks)
    problems = Problems(places)
    for duplicate in document.duplicates:
        problems.add(duplicate.where, f"is there twice, first in line {duplicate.first}", line=duplicate.line)
    name = PurePath(source).stem
    durations: dict[str, float] = {}
    if is_trace(document.value):
        trace = read_trace(Node(document.value, (), problems), name=name)
        plan, durations, places.moved = trace.plan, trace.durations, trace.moved
        problems.refuse()
    else:
        plan = read_plan_tree(Node(document.value, (), problems), now=now, name=name)
    plan = _with_inputs(plan, inputs or {}, problems)
    find_problems(plan, problems, kinds=kinds, now=now)
    problems.refuse()
    return PlanSource(plan, durations, places)


def _decode(data: bytes, source: str) -> Document:
    suffix = PurePath(source).suffix.lower()
    decode = _DECODERS.get(suffix)
    if decode is None:
        known = ", ".join(_DECODERS)
        raise Malformed(f"is not named like a plan file, whose name ends with one of {known}")
    if len(data) > MAX_BYTES:
        raise Malformed(f"is larger than {MAX_BYTES // 1024**2} MiB, which is the most a plan file may have")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"is not text in UTF-8 (byte {error.start})", data.count(b"\n", 0, error.start) + 1) from error
    document = decode(text) if text.strip() else Document(None)
    if document.value is None:
        raise Malformed("is empty")
    if not isinstance(document.value, dict):
        raise Malformed("is not a plan; a plan is a mapping with the key 'tasks'")
    return document


def _with_inputs(plan: Plan, inputs: Mapping[str, Any], problems: Problems) -> Plan:
    if not inputs:
        return plan
    for name in inputs:
        if name not in plan.inputs:
            problems.add(("inputs", name), f"the plan has no such input{problems.hint(name, plan.inputs)}")
    given = Node({"inputs": dict(inputs)}, (), problems).child("inputs").plain()
    return msgspec.structs.replace(plan, inputs={**plan.inputs, **given})
