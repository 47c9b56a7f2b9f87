"""What the faults did, for the documentation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.scene import Scene

TABLE = pytest.StashKey[list[tuple[Any, ...]]]()


def note(request: pytest.FixtureRequest, scene: Scene, detail: str) -> None:
    """Note a row of the table; fails where anything is lost, or has happened twice."""
    lost, repeated = len(scene.missing()), scene.repeated()
    fault = request.node.name.partition("[")[0].removeprefix("test_").replace("_", " ")
    row = (scene.bench.name, fault, detail, len(scene.confirmed), scene.refused, lost, repeated, scene.redelivered())
    request.config.stash.setdefault(TABLE, []).append((*row, f"{scene.recovery:.1f}" if scene.recovery else ""))
    assert (lost, repeated) == (0, 0)
