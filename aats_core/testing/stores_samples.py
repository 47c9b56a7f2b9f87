"""Documents and values that the contract tests of record stores use."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from aats_core.query.values import MAX_INT, MIN_INT

PEOPLE: tuple[dict[str, Any], ...] = (
    {"_id": "ann", "age": 31, "tags": ["a", "b"], "home": {"city": "Bern", "zip": 3000}},
    {"_id": "bob", "age": 55, "tags": ["c"], "home": {"city": "Rome"}},
    {"_id": "carl", "age": 45, "tags": ["b"], "home": None},
    {"_id": "dora", "age": 29, "tags": ["b"], "home": {"city": "Bern"}},
    {"_id": "eve", "age": 12, "tags": []},
)
"""A small collection."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53 + 1, MAX_INT, MIN_INT),
    *(0.0, 1.0, -1.5, 1e300, 5e-324, math.inf, -math.inf, math.nan),
    *map(Decimal, ("0", "1.10", "-0.001", "1E+100", "1.234567890123456789012345678901234", "NaN")),
    *(
        "",
        "text",
        "\u00e9\u4e2d\U0001f600",
        "\U0010ffff",
        "\U0010ffffx 1",
        'quote " and \\',
        "line\nbreak\ttab",
        "null",
        "1",
    ),
    *(b"", b"bytes", bytes(range(256))),
    datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    datetime(2026, 2, 3, 4, 5, 6, 789999),
    datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
    *([], [[]], [1, "a", None, [2, [3]]], {}, {"a": {"b": [{"c": 1}]}}, {"b": 1, "a": 2}, (1, 2)),
)
"""One of each kind of value that a document may hold, and the edges of each."""
