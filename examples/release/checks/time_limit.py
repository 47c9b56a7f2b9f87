"""A pytest plugin that ends a run when its time is up, and counts what passed, failed and was left out."""

import json
import os
import time
from pathlib import Path
from typing import Any

SECONDS, TALLY = "AATS_TEST_SECONDS", "AATS_TEST_TALLY"

_tally: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "left": 0, "stopped": False}
_begun = time.monotonic()


def read_tally(path: Path) -> dict[str, Any]:
    """Return what a run counted, or zeros where it did not get that far."""
    return json.loads(path.read_text()) if path.exists() else dict(_tally)


def pytest_collection_finish(session: Any) -> None:
    """Remember how many tests there are."""
    _tally["left"] = len(session.items)


def pytest_runtest_logreport(report: Any) -> None:
    """Count the outcome of a test, or a failure before or after it."""
    if report.when == "call" or report.outcome != "passed":
        _tally[report.outcome] += 1


def pytest_runtest_protocol(item: Any) -> bool | None:
    """Pass over every test once the time is up."""
    if _tally["stopped"] or time.monotonic() - _begun > float(os.environ[SECONDS]):
        _tally["stopped"] = True
        item.session.shouldstop = f"the {os.environ[SECONDS]} s are over"
        return True
    _tally["left"] -= 1
    return None


def pytest_unconfigure() -> None:
    """Write down what was counted."""
    Path(os.environ[TALLY]).write_text(json.dumps(_tally))
