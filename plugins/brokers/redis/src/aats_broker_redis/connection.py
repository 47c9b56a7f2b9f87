"""A connection to a server that is gone once it is given up, whatever the server does."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.connection import Connection

from aats_core.tls import TlsSettings


class PromptConnection(Connection):
    """A connection that is cut rather than closed, with TLS where there are settings for it.

    The driver waits for the farewell of the server in TLS, or forgets a connection that still waits for it, or whose
    handshake was cancelled: the socket outlives the client, and the event loop too. Nothing of what was sent is lost,
    as all answers are awaited before a connection is given up.
    """

    def __init__(self, *, tls: TlsSettings | None, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        if self._tls is None or self._writer is None:
            return
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                await self._writer.start_tls(self._tls.context(), server_hostname=self.host)
        except BaseException:
            await self.disconnect(nowait=True)
            raise

    async def disconnect(self, *given: Any, **options: Any) -> None:
        """Cut the connection off."""
        if self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(*given, **options)
