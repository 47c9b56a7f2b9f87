"""What the store does beside its contract: settings of the server, several servers, sessions, channels and counters."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
from aats_store_redis import RedisChannels, RedisCounters, RedisSessions, RedisStore
from pydantic import ValidationError
from redis.asyncio import Redis, RedisCluster

from aats_core.clock import RealClock
from aats_core.errors import StoreError, StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.settings import TeamInfo
from aats_core.store import Index, KeyValueStore, RecordStore, Schema
from tests.services import RedisCluster as ClusterServer
from tests.services import RedisServer
from tests.services.proxy import Fault, FaultProxy
from tests.services.service import free_port


def offered(store: RedisStore, kind: type[Any]) -> Any:
    return next(each for each in store.capabilities if isinstance(each, kind))


def make(url: str, **settings: Any) -> RedisStore:
    return RedisStore(RedisStore.Settings(servers=[url], **settings), TeamInfo(), RealClock())


# Settings


@pytest.mark.parametrize("url", ["http://a", "redis://", "redis://a/x", "redis://user:secret@a"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        RedisStore.Settings(servers=[url])


@pytest.mark.parametrize("password", ["", "wrong-secret"])
def test_a_password_that_is_wrong_is_told_at_once(start: Any, password: str) -> None:
    server = start(requirepass="secret")

    async def scenario() -> None:
        store = make(server.url, password=password, timeout=60.0)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="check `user` and `password`") as caught:
            await store.connect()
        assert time.monotonic() - begun < 30, "nobody waits for a password to become right"
        assert "secret" not in str(caught.value)
        well = make(server.url, password="secret")
        await well.connect()
        await offered(well, KeyValueStore).put("a", 1)
        assert await offered(well, KeyValueStore).get("a") == 1
        await well.native.ping()
        await well.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"appendonly": "no"}, ["appendonly yes"]),
        ({"appendfsync": "everysec"}, ["the last second", "appendfsync always"]),
        ({"appendfsync": "no", "maxmemory-policy": "allkeys-lru"}, ["some time", "maxmemory-policy noeviction"]),
    ],
)
def test_health_names_settings_that_lose_data(
    start: Any, opened: Any, options: dict[str, str], words: list[str]
) -> None:
    server = start()

    async def scenario() -> None:
        async with opened(server.port) as store:
            assert (await store.health()).status is HealthStatus.OK
            for name, value in options.items():
                await store.native.config_set(name, value)
            health = await store.health()
            assert health.status is HealthStatus.DEGRADED
            assert all(word in health.detail for word in words), health.detail

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("more", "words"), [(["+info"], "config|get"), (["+info", "+config|get"], "")], ids=["too few", "enough"]
)
def test_the_rights_of_the_readme_are_enough_and_health_says_where_it_may_not_look(
    start: Any, more: list[str], words: str
) -> None:
    server = start()
    with redis.Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", "aats", "on", ">pw", "~aats:*", "&*", "+@all", "-@dangerous", *more)

    async def scenario() -> None:
        store = make(server.url, user="aats", password="pw")
        await store.connect()
        health = await store.health()
        assert health.status is (HealthStatus.DEGRADED if words else HealthStatus.OK)
        assert words in health.detail
        records, values = offered(store, RecordStore), offered(store, KeyValueStore)
        await records.ensure("a", Schema(indexes=(Index({"a": 1}, unique=True), Index({"t": 1}, text=True))))
        await records.insert("a", {"_id": 1, "a": 1, "t": "x"})
        assert await records.count("a", {"$text": {"$search": "x"}}) == await records.count("a", {"a": 1}) == 1
        await values.limit("a", rate=1, per=60.0)
        async with values.lock("a"):
            with pytest.raises(TimeoutError):
                await values.lock("a", timeout=0.3).__aenter__()
        await store.close()

    asyncio.run(scenario())


class TlsServer(RedisServer):
    """A Redis that speaks TLS only, and only with clients that have a certificate."""

    name = "redis-tls"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.given = ""
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("127.0.0.1")
        self.authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
        client = self.authority.issue_cert("client@example.org")
        client.private_key_and_cert_chain_pem.write_to_path(str(directory / "client.pem"))
        trustme.CA().cert_pem.write_to_path(str(directory / "other.pem"))

    def command(self) -> list[str]:
        files = ["--tls-cert-file", "server.pem", "--tls-key-file", "server.pem", "--tls-ca-cert-file", "ca.pem"]
        options = ["--port", "0", "--tls-port", str(self.port), "--tls-replication", "no"]
        return [*super().command(), *options, *(str(self.directory / f) if f.endswith(".pem") else f for f in files)]

    def ask(self, command: str) -> bytes:
        words = ["--tls", "--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.pem", "-h", "127.0.0.1"]
        answer = subprocess.run(
            ["redis-cli", *words, "-p", str(self.port), command],
            cwd=self.directory,
            capture_output=True,
            check=False,
        )
        return b"+" + answer.stdout

    def address(self, port: int) -> str:
        return f"rediss://127.0.0.1:{port}/0"


def test_a_server_is_checked_and_checks_who_asks(server: RedisServer, tmp_path: Path) -> None:
    tls = TlsServer(tmp_path)
    tls.start()
    shown = {"ca": tmp_path / "ca.pem", "certificate": tmp_path / "client.pem"}

    async def scenario() -> None:
        well = make(tls.url, tls=shown)
        await well.connect()
        await offered(well, KeyValueStore).put("a", 1)
        await well.native.ping()
        async with offered(well, RedisChannels).subscribe("a"):
            pass
        await well.close()
        for wrong in (
            {"ca": tmp_path / "other.pem", "certificate": tmp_path / "client.pem"},
            {"ca": tmp_path / "ca.pem"},
        ):
            with pytest.raises(StoreUnavailable):
                await make(tls.url, tls=wrong, timeout=2.0).connect()

    async def hanging(proxy: FaultProxy) -> None:
        store = make(tls.address(proxy.port), tls=shown)
        await store.connect()
        await store.native.ping()
        proxy.inject(Fault.STALL)
        await store.close()

    try:
        asyncio.run(scenario())
        with FaultProxy(tls.port) as proxy:
            asyncio.run(hanging(proxy))
        gc.collect()  # a socket that was left open says so, and that is an error
    finally:
        tls.kill()


# Several servers


def test_all_addresses_are_tried_and_a_replica_leads_to_its_server(start: Any, opened: Any) -> None:
    first = start(repl_diskless_sync_delay="0")
    second = start(replicaof=f"127.0.0.1 {first.port}")

    async def scenario() -> None:
        async with opened(free_port(), second.port, first.port) as store:
            values = offered(store, KeyValueStore)
            await values.put("a", 1)
            async with asyncio.timeout(30):
                while b"master_link_status:up" not in second.ask("INFO replication"):
                    await asyncio.sleep(0.02)
            await store.native.wait(1, 10_000)
            await asyncio.to_thread(first.kill)
            second.ask("REPLICAOF NO ONE")
            assert await values.get("a") == 1
            await values.put("a", 2)
            assert await values.get("a") == 2

    asyncio.run(scenario())


def test_a_server_that_does_not_answer_keeps_nobody_from_the_next(own_server: RedisServer, opened: Any) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        proxy.inject(Fault.STALL)
        async with opened(proxy.port, own_server.port, timeout=4.0) as store:
            await offered(store, KeyValueStore).put("next", 1)
            assert await offered(store, KeyValueStore).get("next") == 1
        proxy.inject(Fault.NONE)

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_who_became_a_replica_is_left_for_its_server(start: Any, opened: Any) -> None:
    first, second = start(), start()

    async def scenario() -> None:
        async with opened(first.port) as store:
            values = offered(store, KeyValueStore)
            await values.put("a", 1)
            first.ask(f"REPLICAOF 127.0.0.1 {second.port}")
            await values.put("a", 2)
            assert second.ask("DBSIZE") == b":1\r\n"

    asyncio.run(scenario())


class TestOnACluster:
    @pytest.fixture
    def cluster(self, service: Any) -> ClusterServer:
        return service(ClusterServer)

    def _ports(self, cluster: ClusterServer) -> list[int]:
        return [node.port for node in cluster.nodes]

    def test_keys_spread_and_records_stay_together(self, cluster: ClusterServer, opened: Any) -> None:
        async def scenario() -> None:
            async with opened(self._ports(cluster)[0]) as store:
                assert isinstance(store.native, RedisCluster)
                values, records = offered(store, KeyValueStore), offered(store, RecordStore)
                await asyncio.gather(*(values.put(f"key {n}", n) for n in range(100)))
                assert await asyncio.gather(*(values.get(f"key {n}") for n in range(100))) == list(range(100))
                held = [int(node.ask("DBSIZE")[1:]) for node in cluster.nodes]
                assert all(held), f"a server holds nothing: {held}"
                await records.insert("some", *({"_id": n} for n in range(100)))
                await records.insert("others", {"_id": 1})
                assert await records.count("some") == 100

        asyncio.run(scenario())

    def test_nothing_is_lost_while_keys_move_to_another_server(self, cluster: ClusterServer, opened: Any) -> None:
        ids = [node.ask("CLUSTER MYID").split(b"\r\n")[1].decode() for node in cluster.nodes]

        def reshard() -> None:
            where = ["--cluster-from", ids[0], "--cluster-to", ids[1], "--cluster-slots", "200", "--cluster-yes"]
            address = f"127.0.0.1:{cluster.nodes[0].port}"
            command = ["redis-cli", "--cluster", "reshard", address, *where]
            subprocess.run(command, check=True, capture_output=True, timeout=60)

        async def scenario() -> None:
            async with opened(*self._ports(cluster), timeout=30.0) as store:
                values = offered(store, KeyValueStore)
                moving = asyncio.create_task(asyncio.to_thread(reshard))
                counts = [0] * 50
                while not moving.done():
                    await asyncio.gather(*(values.increment(f"moved {n}") for n in range(50)))
                    counts = [count + 1 for count in counts]
                await moving
                assert await asyncio.gather(*(values.get(f"moved {n}") for n in range(50))) == counts

        asyncio.run(scenario())

    def test_it_works_again_after_all_servers_were_killed(self, cluster: ClusterServer, opened: Any) -> None:
        async def scenario() -> None:
            async with opened(*self._ports(cluster), timeout=5.0) as store:
                values, records = offered(store, KeyValueStore), offered(store, RecordStore)
                await asyncio.gather(*(values.put(f"before {n}", n) for n in range(20)))
                await records.insert("before", {"_id": 1})
                await asyncio.to_thread(cluster.kill)
                with pytest.raises(StoreUnavailable):
                    await asyncio.wait_for(values.get("before 1"), 60)
                assert (await store.health()).status is HealthStatus.DOWN
                await asyncio.to_thread(cluster.start)
                async with asyncio.timeout(30):
                    while (await store.health()).status is HealthStatus.DOWN:
                        await asyncio.sleep(0.05)
                assert await asyncio.gather(*(values.get(f"before {n}") for n in range(20))) == list(range(20))
                assert await records.find("before") == [{"_id": 1}]

        asyncio.run(scenario())


# Keys and locks


def test_times_go_by_the_clock_of_the_server(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            values = offered(store, KeyValueStore)
            await values.put("clock", 1, ttl=100.0)
            (key,) = await store.native.keys("aats:*:k:clock")
            assert 90_000 < await store.native.pttl(key) <= 100_000
            await values.increment("clock")
            assert 90_000 < await store.native.pttl(key) <= 100_000, "a sum keeps the time of its key"
            await values.put("clock", 2.5)
            with pytest.raises(StoreError, match="no integer"):
                await values.increment("clock")
            await values.put("b", 2**63 - 1)
            with pytest.raises(StoreError, match="64 bits"):
                await values.increment("b")

    asyncio.run(scenario())


def test_who_waits_for_a_lock_is_told_when_it_is_free_and_does_not_ask_before(start: Any, opened: Any) -> None:
    server = start()

    def attempts() -> int:
        with redis.Redis(port=server.port) as client:
            return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))

    async def scenario() -> None:
        async with opened(server.port) as one, opened(server.port) as other:
            values, elsewhere = offered(one, KeyValueStore), offered(other, KeyValueStore)
            got = asyncio.Event()

            async def wait() -> None:
                async with elsewhere.lock("bell", timeout=60.0):
                    got.set()

            async with values.lock("bell", ttl=600.0):
                waiting = asyncio.create_task(wait())
                async with asyncio.timeout(60):
                    while not await one.native.pubsub_channels("aats:*:l:bell"):
                        await asyncio.sleep(0.01)
                    before = -1
                    while (now := attempts()) != before:  # until who waits asks for nothing any more
                        before = now
                        await asyncio.sleep(1.0)
                assert not got.is_set()
            await asyncio.wait_for(waiting, 30)

    asyncio.run(scenario())


def test_who_waits_for_a_lock_hears_of_it_after_the_connection_was_lost(own_server: RedisServer, opened: Any) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        async with opened(own_server.port) as one, opened(proxy.port) as other:
            got = asyncio.Event()

            async def wait() -> None:
                async with offered(other, KeyValueStore).lock("deaf", timeout=60.0):
                    got.set()

            async with offered(one, KeyValueStore).lock("deaf", ttl=600.0):
                waiting = asyncio.create_task(wait())
                async with asyncio.timeout(30):
                    while not other._subscriptions._listeners:
                        await asyncio.sleep(0.01)
                proxy.reset()
                await asyncio.sleep(0)
            await asyncio.wait_for(waiting, 30)

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


# What only Redis can do


def test_a_session_lives_for_as_long_as_it_is_used(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            sessions = offered(store, RedisSessions)
            made = await sessions.create({"user": "ann", "rights": ["read"], "ttl": 5}, ttl=600.0)
            assert len(made) >= 40
            assert await sessions.get(made) == {"user": "ann", "rights": ["read"], "ttl": 5}
            assert await sessions.update(made, {"user": None, "seen": b"\0x"}) == {
                "rights": ["read"],
                "ttl": 5,
                "seen": b"\0x",
            }
            (key,) = [each async for each in store.native.scan_iter(f"*{made}")]
            await store.native.pexpire(key, 60_000)
            await sessions.get(made)
            assert await store.native.pttl(key) > 500_000, "reading it begins its time anew"
            assert await sessions.delete(made)
            assert not await sessions.delete(made)
            assert await sessions.get(made) is None
            assert await sessions.update(made, {"user": "bob"}) is None
            empty = await sessions.create({}, ttl=0.05)
            async with asyncio.timeout(10):
                while await store.native.exists(key.replace(made.encode(), empty.encode())):
                    await asyncio.sleep(0.02)
            assert await sessions.get(empty) is None
            with pytest.raises(StoreError):
                await sessions.create({}, ttl=0)

    asyncio.run(scenario())


def test_what_is_published_reaches_all_who_listen_and_they_outlive_lost_connections(
    own_server: RedisServer, opened: Any
) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        async with opened(own_server.port) as one, opened(proxy.port) as other:
            channels, elsewhere = offered(one, RedisChannels), offered(other, RedisChannels)
            async with (
                elsewhere.subscribe("news.sport") as exact,
                elsewhere.subscribe("news.*") as pattern,
                elsewhere.subscribe("n?ws") as literal,
            ):
                await channels.publish("news.sport", {"goals": 3})
                await channels.publish("news.[x]", b"raw")
                await channels.publish("n?ws", None)
                assert await anext(exact) == ("news.sport", {"goals": 3})
                assert [await anext(pattern), await anext(pattern)] == [
                    ("news.sport", {"goals": 3}),
                    ("news.[x]", b"raw"),
                ]
                assert await anext(literal) == ("n?ws", None)
                proxy.reset()
                heard = asyncio.create_task(anext(exact))
                async with asyncio.timeout(30):
                    while not heard.done():
                        await channels.publish("news.sport", "again")
                        await asyncio.sleep(0.02)
                assert (await heard).value == "again"
            last = elsewhere.subscribe("last")
            listening = await last.__aenter__()
            await other.close()
            assert [each async for each in listening] == [], "it ends with the store"
            await last.__aexit__(None, None, None)

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_counters_count_and_say_what_was_seen_most_often(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            counters = offered(store, RedisCounters)
            assert await counters.add("pages", "a") == 1
            assert await asyncio.gather(*(counters.add("pages", "b", 2) for _ in range(3))) == [2, 4, 6]
            assert await counters.add("pages", "c", -1) == -1
            assert await counters.top("pages", 2) == [("b", 6), ("a", 1)]
            assert [await counters.count("pages", each) for each in "abcd"] == [1, 6, -1, 0]
            assert await counters.reset("pages")
            assert not await counters.reset("pages")
            assert await counters.top("pages") == []

    asyncio.run(scenario())


def test_native_is_a_client_of_the_driver(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            assert isinstance(store.native, Redis)
            assert await store.native.ping()

    asyncio.run(scenario())
