"""The time of the server, by which all its clients agree on when a key or a lock runs out."""

from __future__ import annotations

from aats_core.clock import Clock
from aats_store_postgres.session import Session


class ServerTime:
    """The clock of this process, moved by what the server's differed from it when the store was connected."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0.0

    async def measure(self, session: Session) -> None:
        """Find out by how much the server's clock is ahead."""
        begun = self._clock.time()
        there: float = await session.value("SELECT extract(epoch FROM clock_timestamp())::float8")
        self._ahead = there - (begun + self._clock.time()) / 2

    def now(self) -> float:
        """Return the server's time in Unix seconds."""
        return self._clock.time() + self._ahead
