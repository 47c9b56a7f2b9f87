"""What the faults did, for the documentation."""

from __future__ import annotations

from typing import Any

import pytest

from aats_core.testing.stores_load import Outcome
from tests.faults.scene import Scene

TABLE = pytest.StashKey[list[tuple[Any, ...]]]()
STORES = pytest.StashKey[list[tuple[Any, ...]]]()


def note(request: pytest.FixtureRequest, scene: Scene, detail: str, *, keeps: bool = True) -> None:
    """Note a row of the table; fails where anything has happened twice, or is lost by a server that `keeps` all."""
    lost, repeated = len(scene.missing()), scene.repeated()
    head = scene.bench.name, _fault(request), detail
    counts = len(scene.confirmed), scene.refused, lost, repeated, scene.redelivered()
    _add(request, TABLE, *head, *counts, f"{scene.recovery:.1f}" if scene.recovery else "")
    assert (lost if keeps else 0, repeated) == (0, 0)


def note_store(request: pytest.FixtureRequest, store: str, outcome: Outcome, recovery: float) -> None:
    """Note a row of the table of stores; fails where anything is lost, or was done in part or twice."""
    detail = request.node.callspec.id.replace(store, "").strip("-")
    counts = outcome.confirmed, outcome.failed, len(outcome.lost), len(outcome.wrong)
    _add(request, STORES, store, _fault(request), detail, *counts, f"{recovery:.1f}")
    assert (outcome.lost, outcome.wrong) == ([], [])


def _fault(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name.partition("[")[0].removeprefix("test_").replace("_", " ")


def _add(request: pytest.FixtureRequest, table: pytest.StashKey[list[tuple[Any, ...]]], *row: object) -> None:
    request.config.stash.setdefault(table, []).append(row)
