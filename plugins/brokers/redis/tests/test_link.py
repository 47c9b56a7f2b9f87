from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from aats_broker_redis import RedisBroker, RedisSettings
from aats_broker_redis.settings import parse_address

from aats_core.errors import BrokerUnavailable
from aats_core.health import HealthStatus
from aats_core.message import Message
from aats_core.settings import TeamInfo
from aats_core.tls import TlsSettings
from plugins.brokers.redis.tests.conftest import Connected
from tests.services import RedisServer
from tests.services.proxy import Fault, FaultProxy
from tests.services.service import free_port

Servers = Callable[..., RedisServer]


async def works(broker: RedisBroker) -> None:
    async with broker.subscribe("t", "g") as subscription:
        await broker.publish("t", Message("m", 1))
        delivery = await anext(subscription)
        assert delivery.message.read(int) == 1
        await delivery.ack()


class TestAddresses:
    def test_a_dead_address_is_passed_over(self, server: RedisServer, connect: Connected) -> None:
        async def scenario() -> None:
            async with connect(free_port(), server.port) as broker:
                await works(broker)

        asyncio.run(scenario())

    def test_a_replica_points_on_to_its_primary(self, own_server: Servers, connect: Connected) -> None:
        primary = own_server()
        replica = own_server(replicaof=f"127.0.0.1 {primary.port}")

        async def scenario() -> None:
            async with connect(replica.port) as broker:
                await works(broker)

        asyncio.run(scenario())

    def test_a_promoted_replica_takes_over(self, own_server: Servers, connect: Connected) -> None:
        primary = own_server()
        replica = own_server(replicaof=f"127.0.0.1 {primary.port}")

        async def scenario() -> None:
            async with connect(primary.port, replica.port) as broker, broker.subscribe("t", "g") as subscription:
                await broker.publish("t", Message("m", "kept"))
                while b"t\0g" not in replica.ask("KEYS *p5*"):
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(primary.kill)
                replica.ask("REPLICAOF NO ONE")
                assert (await anext(subscription)).message.read(str) == "kept"
                await broker.publish("t", Message("m", "new"))
                assert (await anext(subscription)).message.read(str) == "new"

        asyncio.run(scenario())

    def test_dead_servers_are_all_named(self) -> None:
        ports = free_port(), free_port()
        settings = RedisSettings(servers=[f"redis://127.0.0.1:{port}" for port in ports], timeout=0.3)

        async def scenario() -> None:
            with pytest.raises(BrokerUnavailable) as refusal:
                await RedisBroker(settings).connect()
            assert all(f"127.0.0.1:{port}" in str(refusal.value) for port in ports)

        asyncio.run(scenario())

    def test_what_is_no_redis_is_given_up_in_time(self) -> None:
        async def scenario() -> None:
            async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await reader.read()
                finally:
                    writer.close()

            async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
                port = listener.sockets[0].getsockname()[1]
                settings = RedisSettings(servers=[f"redis://127.0.0.1:{port}"], timeout=0.5)
                with pytest.raises(BrokerUnavailable):
                    await RedisBroker(settings).connect()

        asyncio.run(scenario())

    def test_several_teams_share_a_server(self, server: RedisServer) -> None:
        async def scenario() -> None:
            settings = RedisSettings(servers=[f"redis://127.0.0.1:{server.port}"])
            one, two = (RedisBroker(settings, TeamInfo(namespace=name)) for name in ("one", "two"))
            await asyncio.gather(one.connect(), two.connect())
            async with one.subscribe("t", "g") as subscription:
                await two.publish("t", Message("m", "of another team"))
                await one.publish("t", Message("m", "mine"))
                assert (await anext(subscription)).message.read(str) == "mine"
            assert [status.topic for status in await two.topics()] == []
            await asyncio.gather(one.close(), two.close())

        asyncio.run(scenario())


class TestSecrets:
    def test_a_password_opens_the_server(self, own_server: Servers, connect: Connected) -> None:
        server = own_server()
        server.ask("CONFIG SET requirepass hunter2")

        async def scenario() -> None:
            async with connect(server.port, password="hunter2") as broker:
                await works(broker)

        asyncio.run(scenario())

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"password": "wrong-one"}, "refused the user 'default' or the password: .*invalid username-password"),
            ({}, "refused the user 'default' or the password: .*[Aa]uthentication required"),
            ({"user": "weak", "password": "weak"}, "refused the user 'weak' or the password: .*no permissions"),
        ],
        ids=["password", "none", "rights"],
    )
    def test_a_refusal_is_reported_at_once(
        self, own_server: Servers, connect: Connected, wrong: dict[str, str], said: str
    ) -> None:
        server = own_server()
        server.ask("ACL SETUSER weak on >weak ~* +ping")
        server.ask("CONFIG SET requirepass hunter2")

        async def scenario() -> None:
            with pytest.raises(BrokerUnavailable, match=said) as refusal:
                async with connect(server.port, **wrong, timeout=3600):
                    pass
            assert "wrong-one" not in str(refusal.value)

        asyncio.run(scenario())

    def test_a_password_that_is_wrong_no_more_lets_consumers_go_on(
        self, own_server: Servers, connect: Connected
    ) -> None:
        server = own_server()
        server.ask("CONFIG SET requirepass hunter2")

        async def scenario() -> None:
            async with connect(server.port, password="hunter2") as broker, broker.subscribe("t", "g") as subscription:
                waiting = asyncio.ensure_future(anext(subscription))
                kill = "CLIENT KILL TYPE pubsub\r\nCLIENT KILL TYPE normal SKIPME yes"
                server.ask(f"AUTH hunter2\r\nCONFIG SET requirepass changed\r\n{kill}")
                with pytest.raises(BrokerUnavailable, match="refused the user"):
                    await broker.publish("t", Message("m", "refused"))
                server.ask("AUTH changed\r\nCONFIG SET requirepass hunter2")
                published = False
                while not published:
                    with suppress(BrokerUnavailable):  # a look that began before may still be refused
                        await broker.publish("t", Message("m", "kept"))
                        published = True
                assert (await waiting).message.read(str) == "kept"

        asyncio.run(scenario())

    def test_a_user_needs_no_more_than_the_documented_rights(self, own_server: Servers, connect: Connected) -> None:
        server = own_server()
        server.ask(
            "ACL SETUSER aats on >secret ~aats:{aats}:* &aats:{aats}:* +@all -@dangerous +info +role +config|get"
        )

        async def scenario() -> None:
            async with connect(server.port, user="aats", password="secret") as broker:
                await works(broker)
                await broker.dead_letter("t", Message("m", 1), reason="r", attempts=1)
                assert len(await broker.dead_letters("t")) == 1
                assert await broker.purge("t") == 1
                assert [status.topic for status in await broker.topics()] == ["t"]
                assert (await broker.health()).status is HealthStatus.OK

        asyncio.run(scenario())


def shown(files: dict[str, Path]) -> dict[str, Path]:
    return {"ca": files["ca"], "certificate": files["client"], "key": files["client_key"]}


class TestTls:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        authority = trustme.CA()
        files = {name: tmp_path / f"{name}.pem" for name in ("ca", "server", "server_key", "client", "client_key")}
        authority.cert_pem.write_to_path(files["ca"])
        for name in ("server", "client"):
            issued = authority.issue_cert("127.0.0.1", common_name=name)
            issued.cert_chain_pems[0].write_to_path(files[name])
            issued.private_key_pem.write_to_path(files[f"{name}_key"])
        return files

    @pytest.fixture
    def address(self, own_server: Servers, files: dict[str, Path]) -> str:
        port = free_port()
        own_server(
            tls_port=str(port),
            tls_cert_file=str(files["server"]),
            tls_key_file=str(files["server_key"]),
            tls_ca_cert_file=str(files["ca"]),
            tls_auth_clients="yes",
        )
        return f"rediss://127.0.0.1:{port}"

    def broker(self, address: str, timeout: float = 30, **tls: Any) -> RedisBroker:
        return RedisBroker(RedisSettings(servers=[address], timeout=timeout, tls=TlsSettings(**tls)))

    def test_a_client_certificate_is_shown(self, address: str, files: dict[str, Path]) -> None:
        async def scenario() -> None:
            broker = self.broker(address, **shown(files))
            await broker.connect()
            await works(broker)
            await broker.close()

        asyncio.run(scenario())

    def test_a_server_without_a_trusted_certificate_is_refused(self, address: str, files: dict[str, Path]) -> None:
        async def scenario() -> None:
            with pytest.raises(BrokerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await self.broker(address, 3600, certificate=files["client"], key=files["client_key"]).connect()

        asyncio.run(scenario())

    def test_a_client_without_a_certificate_is_refused(self, address: str, files: dict[str, Path]) -> None:
        async def scenario() -> None:
            with pytest.raises(BrokerUnavailable):
                await self.broker(address, 1, ca=files["ca"]).connect()

        asyncio.run(scenario())

    def test_a_server_that_hangs_keeps_no_socket_open(self, address: str, files: dict[str, Path]) -> None:
        async def scenario(proxy: FaultProxy) -> None:
            broker = self.broker(f"rediss://127.0.0.1:{proxy.port}", **shown(files))
            await broker.connect()
            await works(broker)
            proxy.inject(Fault.STALL)
            await broker.close()

        with FaultProxy(parse_address(address).port) as proxy:
            asyncio.run(scenario(proxy))
            gc.collect()  # what was left open says so, and that is an error

    def test_a_connect_that_is_cancelled_keeps_no_socket_open(self, address: str, files: dict[str, Path]) -> None:
        async def scenario(after: float) -> None:
            broker = self.broker(address, **shown(files))
            connecting = asyncio.create_task(broker.connect())
            await asyncio.sleep(after)
            connecting.cancel()
            await asyncio.wait({connecting})
            await broker.close()

        for turn in range(40):
            asyncio.run(scenario(turn / 2000))
        gc.collect()
