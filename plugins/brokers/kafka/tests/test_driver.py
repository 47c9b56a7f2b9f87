"""The edge to aiokafka, where it leaves something open or says what nobody expects."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aats_broker_kafka import KafkaSettings
from aats_broker_kafka.client import Client
from aats_broker_kafka.driver import Driver, TopicPartition, _records
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from aats_core.errors import BrokerUnavailable
from aats_core.message import new_id
from plugins.brokers.kafka.tests.conftest import QUICK, watch_connections
from tests.services.kafka import KafkaServer
from tests.services.proxy import Fault, FaultProxy

NODE = 1


def settings(server: KafkaServer) -> KafkaSettings:
    return KafkaSettings(servers=[server.url], **QUICK)


def transports(client: Client) -> list[asyncio.BaseTransport]:
    return list(client._transports)


def test_a_connection_that_ended_is_closed_before_it_is_forgotten(server: KafkaServer) -> None:
    async def main() -> None:
        driver = Driver(settings(server))
        await driver.open()
        client = driver._client
        try:
            opened = transports(client)
            assert opened
            for connection in client._conns.values():  # as a server that dies, before anybody has noticed
                connection._reader.feed_eof()
            client.cluster.broker_metadata = lambda _: None
            with pytest.raises(BrokerUnavailable):
                await driver.send(NODE, MetadataRequest([]), "metadata")
            assert all(transport.is_closing() for transport in opened)
        finally:
            await driver.close()

    asyncio.run(main())


def test_a_batch_that_was_damaged_on_its_way_is_not_taken() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1000)
    for offset, value in enumerate((b"first", b"second")):
        builder.append(offset, None, None, value, [])
    data = bytes(builder.build())
    place = TopicPartition("t", 0)

    records, position = _records(place, data, 1)
    assert ([record.value for record in records], position) == ([b"second"], 2)

    with pytest.raises(BrokerUnavailable, match="damaged"):
        _records(place, data.replace(b"second", b"sec0nd"), 0)


async def cancel_first_request(client: Client, _: FaultProxy) -> None:
    """Cancel who asks the first server for the cluster, while no answer comes."""
    asked = asyncio.Event()
    get = client._get_conn

    async def get_silent(*args: Any, **options: Any) -> Any:
        connection = await get(*args, **options)
        connection.send = lambda *_: wait_for_ever(asked)
        return connection

    client._get_conn = get_silent  # type: ignore[method-assign] # this client's own
    bootstrap = asyncio.create_task(client.bootstrap())
    await asked.wait()
    bootstrap.cancel()
    await asyncio.gather(bootstrap, return_exceptions=True)
    await client.close()


async def wait_for_ever(asked: asyncio.Event) -> None:
    asked.set()
    await asyncio.get_running_loop().create_future()


async def close_while_it_connects(client: Client, _: FaultProxy) -> None:
    """Close a client while one of its connections is being opened."""
    await client.bootstrap()
    loop = asyncio.get_running_loop()
    connect, begun, go_on = loop.create_connection, asyncio.Event(), asyncio.Event()

    async def connect_slowly(*args: Any, **options: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await connect(*args, **options)

    loop.create_connection = connect_slowly  # type: ignore[method-assign] # this test's loop
    asking = asyncio.create_task(client.send(NODE, MetadataRequest([])))
    await begun.wait()
    await client.close()
    go_on.set()
    await asyncio.gather(asking, return_exceptions=True)


async def leave_something_unsent(client: Client, proxy: FaultProxy) -> None:
    """Give a connection up that has more to send than a network that stalls takes."""
    await client.bootstrap()
    connection = await client._get_conn(NODE)
    transport = connection._writer.transport
    proxy.inject(Fault.STALL)
    transport.write(bytes(64_000_000))
    assert transport.get_write_buffer_size()
    connection.close()
    await client.close()


@pytest.mark.parametrize("trouble", [cancel_first_request, close_while_it_connects, leave_something_unsent])
def test_a_client_leaves_no_connection_open(
    proxy: FaultProxy,
    trouble: Callable[[Client, FaultProxy], Awaitable[None]],
) -> None:
    """What stays open would be a warning of the interpreter sooner or later; here it is looked for."""

    async def main() -> None:
        created = watch_connections()
        client = Client(KafkaSettings(servers=[f"127.0.0.1:{proxy.port}"], **QUICK), 5.0)
        try:
            async with asyncio.timeout(60):
                await trouble(client, proxy)
        finally:
            proxy.inject(Fault.NONE)
        assert created
        assert [socket for socket in created if socket.fileno() >= 0] == []

    asyncio.run(main())


def test_no_node_waits_for_another_that_has_died_without_a_word(server: KafkaServer) -> None:
    async def main() -> None:
        silent = socket.create_server(("127.0.0.1", 0))  # it takes connections, and nobody ever answers on them
        dead = silent.getsockname()[1]
        client = Client(settings(server), 30.0)
        await client.bootstrap()
        live = client.cluster.broker_metadata(NODE)
        nodes = {NODE: live, 2: live._replace(nodeId=2, port=dead)}
        client.cluster.broker_metadata = nodes.get
        try:
            lost = asyncio.create_task(client.ready(2))
            taken, _ = await asyncio.to_thread(silent.accept)
            with taken:
                assert await client.ready(NODE)
                assert not lost.done()
                lost.cancel()
                await asyncio.wait({lost})
        finally:
            await client.close()
            silent.close()

    asyncio.run(main())


def test_a_connection_without_an_answer_in_time_is_given_up_for_a_new_one(proxy: FaultProxy) -> None:
    async def main() -> None:
        driver = Driver(KafkaSettings(servers=[f"127.0.0.1:{proxy.port}"], **QUICK))
        await driver.open()
        try:
            await driver.send(NODE, MetadataRequest([]), "metadata")
            proxy.inject(Fault.STALL)
            with pytest.raises(BrokerUnavailable, match="TimeoutError"):
                await driver.send(NODE, MetadataRequest([]), "metadata", within=0.1)
            proxy.inject(Fault.NONE)
            await driver.send(NODE, MetadataRequest([]), "metadata")
        finally:
            proxy.inject(Fault.NONE)
            await driver.close()

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


def test_an_outage_is_told_of_once_however_often_it_is_met(
    server: KafkaServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise OSError("unplugged")

    async def main() -> None:
        driver = Driver(settings(server))
        await driver.open()
        sibling = driver.sibling()
        await sibling.open()
        try:
            with monkeypatch.context() as patch:
                for one in (driver, sibling):
                    patch.setattr(one._client, "send", away)
                for one in (driver, sibling, driver):
                    with pytest.raises(BrokerUnavailable, match="unplugged"):
                        await one.send(NODE, MetadataRequest([]), "metadata")
            for _ in range(2):
                await driver.send(NODE, MetadataRequest([]), "metadata")
        finally:
            await driver.close()
            await sibling.close()

    with caplog.at_level(logging.WARNING, "aats_broker_kafka"):
        asyncio.run(main())
    told, over = (record.getMessage() for record in caplog.records)
    assert "unplugged" in told
    assert "again" in over
