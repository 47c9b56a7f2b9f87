"""The time of the server, by which all its clients agree on when something runs out, in its expressions."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_LONGEST = 100 * 365 * 86_400.0
"""Seconds that nothing outlives; the server has no dates for much more."""

NOW = {"$divide": [{"$toLong": "$$NOW"}, 1000]}
"""The time in Unix seconds."""

LIVES = {"$gt": [{"$ifNull": ["$expires", _NEVER]}, "$$NOW"]}
"""Whether the time of a document has not run out."""


def later(seconds: float) -> dict[str, Any]:
    """Return the date in so many seconds."""
    return {"$add": ["$$NOW", math.ceil(min(seconds, _LONGEST) * 1000)]}
