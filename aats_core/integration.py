"""The contract of an integration: an edge of the team, whose typed methods agents call."""

from __future__ import annotations

from abc import ABC, abstractmethod

from aats_core.health import Health


class Integration(ABC):
    """Connects the team to something outside: a gateway, a console, an issue tracker, a metrics system."""

    @abstractmethod
    async def start(self) -> None:
        """Open what it needs."""

    @abstractmethod
    async def stop(self) -> None:
        """Release everything; stopping twice is harmless."""

    @abstractmethod
    async def health(self) -> Health:
        """Say whether the other side can be reached; never raises."""
