"""The edge to aiokafka, where it leaves something open or says what nobody expects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aats_broker_kafka import KafkaSettings
from aats_broker_kafka.driver import Driver
from aats_broker_kafka.producer import Producer
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest

from aats_core.errors import BrokerUnavailable
from aats_core.message import new_id
from plugins.brokers.kafka.tests.conftest import QUICK
from tests.services.kafka import KafkaServer

NODE = 1


def settings(server: KafkaServer) -> KafkaSettings:
    return KafkaSettings(servers=[server.url], **QUICK)


async def end_and_ask(client: Any, ask: Callable[[], Awaitable[object]]) -> None:
    """Let connections end as a dying server would, ask before anybody has noticed, and see that they were closed."""
    writers = [connection._writer for connection in client._conns.values()]
    assert writers
    for reader in [connection._reader for connection in client._conns.values()]:
        reader.feed_eof()
    client.cluster.broker_metadata = lambda _: None
    with pytest.raises((BrokerUnavailable, NodeNotReadyError)):
        await ask()
    assert all(writer.is_closing() for writer in writers)


def test_a_connection_that_ended_is_closed_before_it_is_forgotten(server: KafkaServer) -> None:
    async def main() -> None:
        driver = Driver(settings(server))
        await driver.open()
        try:
            await end_and_ask(driver._client, lambda: driver.send(NODE, MetadataRequest([]), "metadata"))
        finally:
            await driver.close()

    asyncio.run(main())


def test_a_producer_closes_connections_that_ended_before_it_forgets_them(server: KafkaServer) -> None:
    async def main() -> None:
        producer = Producer(settings(server))
        producer._producer = await producer._started()
        client = producer._producer.client
        try:
            await end_and_ask(client, lambda: client.send(NODE, MetadataRequest([])))
        finally:
            await producer.close()

    asyncio.run(main())


def test_a_producer_that_opens_while_it_is_closed_leaves_nothing_open(server: KafkaServer) -> None:
    async def main() -> None:
        producer = Producer(settings(server))
        sending = asyncio.create_task(producer.send(f"own.{new_id()}", b"late"))
        await asyncio.sleep(0)
        assert producer._opening.locked()
        await producer.close()
        with pytest.raises(BrokerUnavailable, match="closed"):
            await sending
        assert producer._producer is None

    asyncio.run(main())


def test_a_connection_that_somebody_else_gave_up_is_an_outage(
    server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgotten(*_: object, **__: object) -> None:
        raise KeyError(new_id())

    async def main() -> None:
        driver = Driver(settings(server))
        await driver.open()
        try:
            monkeypatch.setattr(driver._client, "send", forgotten)
            with pytest.raises(BrokerUnavailable, match="no answer from node 1"):
                await driver.send(NODE, MetadataRequest([]), "metadata")
        finally:
            await driver.close()

    asyncio.run(main())
