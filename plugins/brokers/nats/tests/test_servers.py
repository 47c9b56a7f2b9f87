"""Servers that die, that nobody runs, that want a password or a certificate."""

from __future__ import annotations

import asyncio
import urllib.parse

import pytest
import trustme
from aats_broker_nats import NatsBroker, NatsSettings

from aats_core.errors import BrokerError, BrokerUnavailable, SettingsError
from aats_core.health import HealthStatus
from aats_core.tls import TlsSettings
from plugins.brokers.nats.tests.conftest import connected, number, receive
from tests.services.service import free_port

pytestmark = pytest.mark.integration


def test_what_was_confirmed_outlives_a_killed_server(make_server) -> None:
    server = make_server()

    async def main() -> None:
        async with connected(server, timeout=10) as broker, broker.subscribe("t", "g") as subscription:
            held = await hold(broker, subscription)
            for value in range(1, 200):
                await broker.publish("t", number(value), key=str(value % 7))
            await broker.dead_letter("t", number("dead"), reason="r", attempts=1)
            await asyncio.to_thread(server.kill)
            publishing = asyncio.ensure_future(broker.publish("t", number("while it was away")))
            assert (await broker.health()).status is HealthStatus.DOWN
            await asyncio.to_thread(server.start)
            await publishing
            await held.ack()
            found = set()
            while len(found) < 200:
                delivery = await receive(subscription)
                found.add(delivery.message.read(object))
                await delivery.ack()
            assert found == {*range(1, 200), "while it was away"}
            assert [letter.message.read(str) for letter in await broker.dead_letters("t")] == ["dead"]

    async def hold(broker, subscription):
        await broker.publish("t", number(0))
        return await receive(subscription)

    asyncio.run(main())


def test_of_several_servers_one_that_lives_is_used(make_server) -> None:
    server = make_server()
    dead = [f"nats://127.0.0.1:{free_port()}" for _ in range(3)]

    async def main() -> None:
        async with connected(servers=[*dead, server.url]) as broker, broker.subscribe("t", "g") as subscription:
            await broker.publish("t", number(1))
            await (await receive(subscription)).ack()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await broker.publish("t", number(2))
            while (await receive(subscription)).message.read(int) != 2:
                pass  # the acknowledgement may have died with the server

    asyncio.run(main())


def test_a_server_that_nobody_runs_is_named() -> None:
    url = f"nats://127.0.0.1:{free_port()}"

    async def main() -> None:
        broker = NatsBroker(NatsSettings(servers=[url], timeout=1))
        with pytest.raises(BrokerUnavailable, match=url):
            await broker.connect()
        health = await broker.health()
        assert health.status is HealthStatus.DOWN
        assert "connect" in health.detail
        await broker.close()

    asyncio.run(main())


def test_a_server_without_jetstream_says_what_to_do(make_server) -> None:
    server = make_server(jetstream=False)

    async def main() -> None:
        broker = NatsBroker(NatsSettings(servers=[server.url], timeout=1))
        with pytest.raises(BrokerError, match=r"(?i)jetstream"):
            await broker.connect()

    asyncio.run(main())


def test_a_password_is_needed_and_never_shown(make_server) -> None:
    server = make_server('authorization { user: team, password: "s3cret-word" }')

    async def main() -> None:
        async with connected(server, user="team", password="s3cret-word") as broker:
            await broker.publish("t", number(1))
        wrong = NatsBroker(NatsSettings(servers=[server.url], user="team", password="wr0ng-word", timeout=1))
        with pytest.raises(BrokerUnavailable, match=r"(?i)authorization") as refused:
            await wrong.connect()
        assert "wr0ng-word" not in str(refused.value) + repr(wrong.settings)

    asyncio.run(main())


def test_a_token_opens_the_door(make_server) -> None:
    server = make_server('authorization { token: "t0ken" }')

    async def main() -> None:
        async with connected(server, token="t0ken") as broker:
            await broker.publish("t", number(1))

    asyncio.run(main())


@pytest.fixture
def tls_files(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", "localhost", common_name=name)
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        for part in issued.cert_chain_pems:
            part.write_to_path(tmp_path / f"{name}.pem", append=True)
    return tmp_path


def test_tls_with_a_client_certificate(make_server, tls_files) -> None:
    server = make_server(
        f'tls {{ cert_file: "{tls_files}/server.pem", key_file: "{tls_files}/server.key",'
        f' ca_file: "{tls_files}/ca.pem", verify: true }}'
    )
    url = f"tls://localhost:{urllib.parse.urlsplit(server.url).port}"
    tls = TlsSettings(ca=tls_files / "ca.pem", certificate=tls_files / "client.pem", key=tls_files / "client.key")

    async def main() -> None:
        async with connected(servers=[url], tls=tls) as broker, broker.subscribe("t", "g") as subscription:
            await broker.publish("t", number("sealed"))
            assert (await receive(subscription)).message.read(str) == "sealed"
        without = NatsBroker(NatsSettings(servers=[url], tls=TlsSettings(ca=tls_files / "ca.pem"), timeout=1))
        with pytest.raises(BrokerUnavailable):
            await without.connect()
        strange = trustme.CA()
        strange.cert_pem.write_to_path(tls_files / "strange.pem")
        doubtful = NatsBroker(NatsSettings(servers=[url], tls=TlsSettings(ca=tls_files / "strange.pem"), timeout=1))
        with pytest.raises(BrokerUnavailable, match=r"(?i)certificate"):
            await doubtful.connect()

    asyncio.run(main())


def test_a_certificate_that_is_gone_is_named(tls_files) -> None:
    settings = NatsSettings(servers=["nats://127.0.0.1:1"], tls=TlsSettings(ca=tls_files / "ca.pem"), timeout=1)
    (tls_files / "ca.pem").unlink()

    async def main() -> None:
        with pytest.raises(SettingsError, match=r"tls\.ca = '.*ca\.pem': No such file"):
            await NatsBroker(settings).connect()

    asyncio.run(main())
