"""A server that is killed, cut off, busy or full: no false success, no hung caller, and soon all is well again."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from aats_store_redis import RedisStore

from aats_core.clock import RealClock
from aats_core.errors import InvalidDocument, StoreFull, StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.settings import TeamInfo
from aats_core.store import KeyValueStore, Put, RecordStore
from aats_core.testing.stores_faults import KeyValueFaultContract, RecordFaultContract
from plugins.stores.redis.tests.conftest import new_namespace
from tests.services import RedisServer
from tests.services.faults import OnOwnServer
from tests.services.fixtures import refuse
from tests.services.proxy import Fault, FaultProxy

HEALTHY_AGAIN = 10.0
"""Seconds within which a store works again after its server does."""


def records_of(store: RedisStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, RecordStore))


def values_of(store: RedisStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, KeyValueStore))


async def until_healthy(store: RedisStore) -> None:
    async with asyncio.timeout(HEALTHY_AGAIN):
        while (await store.health()).status is HealthStatus.DOWN:
            await asyncio.sleep(0.05)


async def in_time(call: Callable[[], Any]) -> Any:
    """Return what a call returns once the store works again; on a slow machine not the first may be in time."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


class TestFaults(OnOwnServer, RecordFaultContract, KeyValueFaultContract):
    @pytest.fixture(autouse=True)
    def _namespace(self) -> None:
        self.info = TeamInfo(namespace=new_namespace())

    def make_store(self, port: int = 0, **settings: Any) -> RedisStore:
        url = self.server.address(port or self.server.port)
        return RedisStore(RedisStore.Settings(servers=[url], **{"timeout": 5.0, **settings}), self.info, RealClock())


def test_who_waits_behind_a_stuck_connection_is_told_and_all_goes_on_afterwards(
    own_server: RedisServer, opened: Any
) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        async with opened(proxy.port, timeout=1.0, pool=1) as store:
            records, values = records_of(store), values_of(store)
            await in_time(lambda: records.write([Put("crowd", {"_id": 1})]))
            proxy.inject(Fault.STALL)
            calls = [*(records.find("crowd") for _ in range(100)), *(values.get("crowd") for _ in range(100))]
            ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
            assert {type(end) for end in ends} == {StoreUnavailable}
            proxy.inject(Fault.NONE)
            await until_healthy(store)
            found = await asyncio.gather(*(in_time(lambda: records.find("crowd")) for _ in range(200)))
            assert found == [[{"_id": 1}]] * 200

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_a_server_without_memory_refuses_whole_writes_and_takes_them_once_there_is_room(
    start: Any, opened: Any
) -> None:
    server = start()

    async def scenario() -> None:
        async with opened(server.port) as store:
            records, values = records_of(store), values_of(store)
            await records.insert("full", {"_id": "before"})
            await store.native.config_set("maxmemory", "1")
            refused = (
                records.insert("full", {"_id": 1}),
                records.write([Put("full", {"_id": 2}), Put("other", {"_id": 2})]),
                records.update("full", {}, {"$set": {"a": 1}}),
                values.put("full", 1),
                values.increment("full"),
            )
            for each in await asyncio.gather(*refused, return_exceptions=True):
                assert isinstance(each, StoreFull)
                assert "maxmemory" in str(each)
            assert await records.find("full") == [{"_id": "before"}]
            assert await records.count("other") == 0
            assert await records.delete("full", {}) == 1, "to delete makes room"
            await store.native.config_set("maxmemory", "0")
            await records.insert("full", {"_id": "after"})
            assert await records.find("full") == [{"_id": "after"}]

    asyncio.run(scenario())


class OnASmallDisk(RedisServer):
    """A server whose data lie on a file system of a few megabytes, which is gone with it."""

    name = "redis-small"

    def command(self) -> list[str]:
        mount = f'mount -t tmpfs -o size=3m none "{self.directory}" && exec "$@"'
        inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
        return [*inside, *super().command(), "--appendfsync", "everysec"]

    @property
    def seen(self) -> Path:
        """Its directory as the server sees it."""
        return Path(f"/proc/{self.pid}/root{self.directory}")


def test_a_full_disk_is_named_and_gets_better(tmp_path: Path, own_service: Any, opened: Any) -> None:
    allowed = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(allowed, check=False, capture_output=True).returncode:
        refuse("this machine lets nobody mount a small file system of his own")
    server = own_service(OnASmallDisk)

    async def scenario() -> None:
        async with opened(server.port) as store:
            records = records_of(store)
            await records.insert("disk", {"_id": "before"})
            ballast = server.seen / "ballast"
            ballast.write_bytes(b"x" * (shutil.disk_usage(server.seen).free - 8192))
            confirmed = {"before"}
            async with asyncio.timeout(30):
                with pytest.raises(StoreFull, match="disk"):  # noqa: PT012 - which one is the first refused is not known
                    while True:
                        key = str(len(confirmed))
                        await records.insert("disk", {"_id": key, "text": "x" * 10_000})
                        confirmed.add(key)
            assert {each["_id"] for each in await records.find("disk")} == confirmed
            ballast.unlink()
            async with asyncio.timeout(HEALTHY_AGAIN):
                while True:
                    try:
                        await records.insert("disk", {"_id": "after"})
                    except StoreFull:
                        await asyncio.sleep(0.05)
                    else:
                        break
            assert {each["_id"] for each in await records.find("disk")} == {*confirmed, "after"}

    asyncio.run(scenario())


def test_who_meets_a_script_that_runs_too_long_waits_for_its_end(start: Any, opened: Any) -> None:
    server = start(busy_reply_threshold="50")

    async def scenario() -> None:
        async with opened(server.port, timeout=30.0) as store:
            records = records_of(store)
            await records.insert("busy", {"_id": 1})
            other = redis.Redis(port=server.port)
            endless = asyncio.create_task(asyncio.to_thread(_run, other, "while true do end"))
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(_is_busy, server.port):
                    await asyncio.sleep(0.01)
            waiting = asyncio.create_task(records.insert("busy", {"_id": 2}))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await asyncio.to_thread(_kill_script, server.port)
            assert await asyncio.wait_for(waiting, 30) == [2]
            await endless
            other.close()
            assert await records.count("busy") == 2

    asyncio.run(scenario())


def _run(client: redis.Redis, text: str) -> None:
    with pytest.raises(redis.ResponseError):
        client.eval(text, 0)


def _is_busy(port: int) -> bool:
    with redis.Redis(port=port) as client:
        try:
            client.get("a")
        except redis.ResponseError as error:
            return str(error).startswith("BUSY")
        return False


def _kill_script(port: int) -> None:
    with redis.Redis(port=port) as client:
        client.script_kill()


def test_a_document_that_is_too_large_is_refused_and_harms_no_other(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port, max_document_bytes=1000) as store:
            records, values = records_of(store), values_of(store)
            ends = await asyncio.gather(
                records.insert("large", {"_id": 1, "text": "x" * 1000}),
                records.insert("large", {"_id": 2}),
                values.put("large", "x" * 1000),
                return_exceptions=True,
            )
            assert [type(end) for end in ends] == [InvalidDocument, list, InvalidDocument]
            with pytest.raises(InvalidDocument, match="1000"):
                await records.update("large", {"_id": 2}, {"$set": {"text": "x" * 1000}})
            assert await records.find("large") == [{"_id": 2}]

    asyncio.run(scenario())
