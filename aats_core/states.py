"""The durable state of agents: one versioned document each, in the primary record store."""

from __future__ import annotations

from typing import Any

from aats_core.errors import Conflict, DuplicateKey, StoreError
from aats_core.store import Insert, Put, RecordStore, Require

COLLECTION = "agent_states"


class AgentStates:
    """Loads and saves agents' state; a version tells whether somebody else saved in between."""

    def __init__(self, records: RecordStore | None) -> None:
        self._records = records

    async def load(self, agent: str) -> tuple[int, dict[str, Any]]:
        """Return the version and state of an agent: 0 and an empty state where nothing was saved."""
        found = await self._require().find(COLLECTION, {"_id": agent}, limit=1)
        return (found[0]["version"], found[0]["state"]) if found else (0, {})

    async def save(self, agent: str, state: dict[str, Any], version: int) -> int:
        """Write the state that follows that version and return its own; raises `Conflict` if there is one already."""
        document = {"_id": agent, "version": version + 1, "state": state}
        try:
            if version == 0:
                await self._require().write([Insert(COLLECTION, document)])
            else:
                unchanged = Require(COLLECTION, {"_id": agent, "version": version})
                await self._require().write([unchanged, Put(COLLECTION, document)])
        except (DuplicateKey, Conflict) as error:
            raise Conflict(f"the state of {agent} changed since it was loaded; load it again") from error
        return version + 1

    def _require(self) -> RecordStore:
        if self._records is None:
            raise StoreError("agents' state needs a record store; add [stores.primary] to the team file")
        return self._records
