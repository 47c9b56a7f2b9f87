"""Plans named on the command line: read, with the inputs given there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aats_core.cli.failure import UsageError
from aats_core.plans import PlanSource, read_plan
from aats_core.task import Plan


class PlanFile(msgspec.Struct, frozen=True):
    """A plan and the file it came from; `fingerprint` stands for where that lies, what it holds and the inputs."""

    path: Path
    plan: Plan
    fingerprint: str


def load_plan(path: Path, *, inputs: Sequence[str] = (), kinds: Collection[str] | None = None) -> PlanFile:
    """Read a plan to be submitted, as `load_source` does."""
    source = load_source(path, now=time.time(), inputs=inputs, kinds=kinds)
    digest = hashlib.sha256(msgspec.json.encode([str(path.resolve()), sorted(inputs)]))
    digest.update(path.read_bytes())
    return PlanFile(path, source.plan, digest.hexdigest()[:32])


def load_source(
    path: Path, *, now: float, inputs: Sequence[str] = (), kinds: Collection[str] | None = None
) -> PlanSource:
    """Read a plan; raises `Refused` with all that is wrong with it, and `UsageError` for an input without a value.

    `inputs` are `name=value`; a value is taken as JSON where the plan's own is not text.
    """
    given = dict(_split(text) for text in inputs)
    if not given:
        return read_plan(path, now=now, kinds=kinds)
    return read_plan(path, now=now, kinds=kinds, inputs=_typed(given, read_plan(path, now=now)))


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--input {text}: write it as name=value")
    return name, value


def _typed(given: Mapping[str, str], source: PlanSource) -> dict[str, Any]:
    return {name: _value(name, text, source.plan.inputs.get(name, "")) for name, text in given.items()}


def _value(name: str, text: str, usual: object) -> Any:
    if isinstance(usual, str):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"--input {name}={text}: it must be JSON, like {msgspec.json.encode(usual).decode()}"
        ) from error
