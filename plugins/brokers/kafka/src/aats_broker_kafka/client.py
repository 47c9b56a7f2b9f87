"""The driver's client, which leaves no connection open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import defaultdict
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataResponse_v1

from aats_broker_kafka.settings import KafkaSettings


class Client(AIOKafkaClient):  # type: ignore[misc] # the driver's client has no types
    """Knows the cluster, and has a connection to each node.

    The driver's own loses connections: one that it asks first where that is cancelled, one that the server has ended
    before anybody noticed, one that opens while the client is closed, one that has something left to send, one that is
    given up before it is open, which with TLS waits for the other side's farewell. And it opens one connection after
    the other, so that all nodes wait for one that has died without a word.
    """

    def __init__(self, settings: KafkaSettings, timeout: float) -> None:
        quiet()
        super().__init__(**settings.connection(), client_id="aats", request_timeout_ms=int(timeout * 1000))
        self._patience = settings.timeout / 3
        self._get_conn_lock_value = contextlib.nullcontext()
        self._opening: defaultdict[tuple[int, ConnectionGroup], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ended = False
        self._transports: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()

    async def bootstrap(self) -> None:
        """Learn of the cluster from one of the servers, which is a node like others until then."""
        servers = [(-2 - number, host, port, None) for number, (host, port, _) in enumerate(self.hosts)]
        self.cluster.update_metadata(MetadataResponse_v1(servers, -1, []))
        if not await self._metadata_update(self.cluster, set()):
            raise KafkaConnectionError(f"none of {self.hosts} answers")
        for node, *_ in servers:
            if connection := self._conns.pop((node, ConnectionGroup.DEFAULT), None):
                connection.close()
        self._sync_task = asyncio.create_task(self._md_synchronizer())

    async def close(self) -> None:
        """Close all connections, without waiting for what cannot be sent."""
        self._ended = True
        for transport in list(self._transports):
            transport.abort()  # type: ignore[attr-defined] # all of them are of sockets
        await super().close()
        await asyncio.sleep(0)  # transports that nobody waits for end in the next turn

    async def ask(self, node: int, request: Any, group: ConnectionGroup, within: float | None) -> Any:
        """Send a request to a node and return the answer; hang up where none comes within so many seconds."""
        try:
            async with asyncio.timeout(within):
                return await self.send(node, request, group=group)
        except TimeoutError:
            if connection := self._conns.pop((node, group), None):
                connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            raise

    def _on_connection_closed(self, conn: Any, reason: Any) -> None:
        if (transport := conn._protocol._transport) is not None:  # noqa: SLF001 - the driver has no other way
            self._transports.add(transport)
        super()._on_connection_closed(conn, reason)

    async def _get_conn(self, node: int, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:
        known = self._conns.get((node, group))
        if known is not None and known.connected():
            return known
        try:
            async with asyncio.timeout(self._patience), self._opening[node, group]:
                return await self._open(node, group, no_hint=no_hint)
        except TimeoutError:
            self.force_metadata_update()
            return None

    async def _open(self, node: int, group: ConnectionGroup, *, no_hint: bool) -> Any:
        known = self._conns.get((node, group))
        if known is not None and not known.connected():
            known.close()
        connection = await super()._get_conn(node, group=group, no_hint=no_hint)
        if connection is None:
            return None
        if self._ended:
            self._conns.pop((node, group), None)
            await connection.close()
            return None
        self._transports.add(connection._writer.transport)  # noqa: SLF001 - the driver has no other way
        return connection


def quiet() -> None:
    """Keep the driver from logging every attempt of an outage, which we report ourselves, unless its level is set."""
    if not (logger := logging.getLogger("aiokafka")).level:
        logger.setLevel(logging.CRITICAL)
