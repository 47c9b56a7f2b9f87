"""A pytest plugin that ends a run when its time is up, and counts what passed, failed and was left out.

The smallest files come first, so that as many files as possible have their turn.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

SECONDS, TALLY = "AATS_TEST_SECONDS", "AATS_TEST_TALLY"

_END = pytest.StashKey[float]()
_tally: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "left": 0, "stopped": False}


def read_tally(path: Path) -> dict[str, Any]:
    """Return what a run counted, or zeros where it did not get that far."""
    return json.loads(path.read_text()) if path.exists() else dict(_tally)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Put the tests of small files before those of large ones; within a file they keep their order."""
    items.sort(key=lambda item: (item.path.stat().st_size, str(item.path)))


def pytest_collection_finish(session: Any) -> None:
    """Remember how many tests there are, and when the first one begins."""
    _tally["left"] = len(session.items)
    session.config.stash[_END] = time.monotonic() + float(os.environ[SECONDS])


def pytest_runtest_logreport(report: Any) -> None:
    """Count the outcome of a test, or a failure before or after it."""
    if report.when == "call" or report.outcome != "passed":
        _tally[report.outcome] += 1


def pytest_runtest_protocol(item: Any) -> bool | None:
    """Pass over every test once the time is up."""
    if _tally["stopped"] or time.monotonic() > item.config.stash[_END]:
        _tally["stopped"] = True
        item.session.shouldstop = f"the {os.environ[SECONDS]} s are over"
        return True
    _tally["left"] -= 1
    return None


def pytest_unconfigure() -> None:
    """Write down what was counted."""
    Path(os.environ[TALLY]).write_text(json.dumps(_tally))
