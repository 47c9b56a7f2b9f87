"""Being the one client that owns a group, for as long as it gives signs of life."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aats_broker_nats.parts import Parts
from aats_broker_nats.publisher import WRONG_LAST_SEQUENCE, Refused
from aats_broker_nats.wire import EXPECTED, ID
from aats_core.errors import BrokerError
from aats_core.message import new_id


class Lease:
    """A record in a stream that drops it when it is not renewed in time, and accepts one only where there is none."""

    def __init__(self, group: str, parts: Parts) -> None:
        self._subject = parts.names.owner(group)
        self._parts = parts
        self._sequence = 0
        self.valid_until = 0.0

    async def acquire(self) -> bool:
        """Become the owner, and tell whether that succeeded."""
        return await self._write(0)

    async def renew(self) -> bool:
        """Stay the owner, and tell whether that succeeded."""
        return await self._write(self._sequence)

    async def release(self) -> None:
        """Let another become the owner at once."""
        with suppress(BrokerError):
            await self._parts.jetstream.delete(self._parts.names.owners, self._sequence)

    async def _write(self, expected: int) -> bool:
        began = asyncio.get_running_loop().time()
        headers = {ID: new_id(), EXPECTED: str(expected)}
        try:
            self._sequence = await self._parts.publisher.publish(self._subject, b"", headers)
        except Refused as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise
            return False
        self.valid_until = began + self._parts.settings.failover
        return True
