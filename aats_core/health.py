"""What a part of the team says of its own condition."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class HealthStatus(StrEnum):
    """How well a part works: `OK`, `DEGRADED` (works, with something to see to) or `DOWN`."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class Health(msgspec.Struct, frozen=True):
    """A condition, and in `detail` one sentence for the operator: what is wrong and what to do about it."""

    status: HealthStatus = HealthStatus.OK
    detail: str = ""
