"""Effects: what a task does to the world, recorded so that it happens once although the task may run more than once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aats_core.agent import Effects
from aats_core.errors import DuplicateKey, EffectUnknown, StoreError, TaskFailed
from aats_core.store import Delete, Insert, Put, RecordStore, Require, Write

COLLECTION = "effects"


class TaskEffects(Effects):
    """The effects of one attempt, recorded in the primary store.

    The intent is written only while the attempt is the task's present one, so an attempt whose lease was lost
    begins no new effect.
    """

    def __init__(self, records: RecordStore | None, task: str, attempt: int) -> None:
        self._records = records
        self._task = task
        self._attempt = attempt
        self.writes: tuple[Write, ...] = ()

    async def once(
        self,
        key: str,
        do: Callable[[], Awaitable[Any]],
        *,
        check: Callable[[str], Awaitable[Any]] | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Do it once; see `Effects.once`. `TaskFailed` raised by `do` says that the effect did not happen."""
        records = self._require()
        effect = {"_id": f"{self._task}:{key}", "task": self._task, "key": key, "attempt": self._attempt}
        try:
            await records.write([*self._fence(), Insert(COLLECTION, {**effect, "state": "intent"})])
        except DuplicateKey:
            known = await self._earlier(records, effect, check, idempotent=idempotent)
            if known is not None:
                return known["outcome"]
        try:
            outcome = await do()
        except TaskFailed:
            await records.write([Delete(COLLECTION, {"_id": effect["_id"]})])
            raise
        await records.write([Put(COLLECTION, {**effect, "state": "done", "outcome": outcome})])
        return outcome

    def store(self, *writes: Write) -> None:
        """Add writes to the transaction of the task's result."""
        self.writes += writes

    async def _earlier(
        self,
        records: RecordStore,
        effect: dict[str, Any],
        check: Callable[[str], Awaitable[Any]] | None,
        *,
        idempotent: bool,
    ) -> dict[str, Any] | None:
        """Return the record of an effect that has happened, or None where it is to be done now."""
        found = await records.find(COLLECTION, {"_id": effect["_id"]}, limit=1)
        if found and found[0]["state"] == "done":
            return found[0]
        outcome = await check(effect["key"]) if check is not None else None
        if outcome is not None:
            done = {**effect, "state": "done", "outcome": outcome}
            await records.write([Put(COLLECTION, done)])
            return done
        if check is None and not idempotent:
            begun = f"in attempt {found[0]['attempt']}" if found else "earlier"
            raise EffectUnknown(
                f"effect {effect['key']!r} was begun {begun} and its outcome is not known; "
                "look whether it happened and settle the task"
            )
        await records.write([*self._fence(), Put(COLLECTION, {**effect, "state": "intent"})])
        return None

    def _fence(self) -> tuple[Write, ...]:
        return (Require("tasks", {"_id": self._task, "attempt": self._attempt}),)

    def _require(self) -> RecordStore:
        if self._records is None:
            raise StoreError("effects need a record store named primary; add [stores.primary] to the team file")
        return self._records
