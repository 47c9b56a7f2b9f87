"""A replica set of three servers, whose primary is killed under load."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from aats_core.errors import StoreError
from aats_core.message import new_id
from aats_core.store import Insert, KeyValueStore, Put, RecordStore
from tests.services import MongoSet

CLIENTS = 8
FLOWING = 40
"""Writes by which one sees that they are confirmed again."""


class Load:
    """Clients that write in three ways until they are told to stop, and remember what was confirmed."""

    def __init__(self, store: Any, name: str) -> None:
        self.records: Any = next(each for each in store.capabilities if isinstance(each, RecordStore))
        self.values: Any = next(each for each in store.capabilities if isinstance(each, KeyValueStore))
        self.name = name
        self.confirmed: list[str] = []
        self.sums: list[int] = []
        self.failed = 0
        self.stopping = False

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            key = f"{number}-{turn}"
            try:
                if turn % 3 == 0:
                    await self.records.insert(self.name, {"_id": key})
                elif turn % 3 == 1:
                    await self.records.write([Insert(self.name, {"_id": key}), Put(self.name, {"_id": f"{key} too"})])
                else:
                    self.sums.append(await self.values.increment(self.name))
                    continue
                self.confirmed.append(key)
            except StoreError:
                self.failed += 1
            await asyncio.sleep(0)

    async def until_more(self, count: int) -> None:
        wanted = len(self.confirmed) + count
        async with asyncio.timeout(60):
            while len(self.confirmed) < wanted:
                await asyncio.sleep(0.02)


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("forgotten_sockets")
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_the_death_of_the_primary_loses_nothing_that_was_confirmed(
    service: Any, make_store: Any, driver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    servers: MongoSet = service(MongoSet)

    async def scenario() -> list[float]:
        pauses = []
        store = make_store(servers.url, driver=driver)
        await store.connect()
        try:
            load = Load(store, f"set_{new_id()}")
            running = asyncio.create_task(load.run())
            for _ in range(2):
                await load.until_more(FLOWING)
                primary = await asyncio.to_thread(servers.primary)
                assert primary is not None
                await asyncio.to_thread(primary.kill)
                killed = time.monotonic()
                await load.until_more(FLOWING)
                pauses.append(time.monotonic() - killed)
                await asyncio.to_thread(primary.start)
            load.stopping = True
            await asyncio.wait_for(running, 60)
            kept = {document["_id"] for document in await load.records.find(load.name)}
            assert set(load.confirmed) <= kept, "what was confirmed is lost"
            pairs = {each.removesuffix(" too") for each in kept if each.endswith(" too")}
            assert pairs == {each for each in kept if not each.endswith(" too") and int(each.split("-")[1]) % 3 == 1}
            assert len(set(load.sums)) == len(load.sums), "two increments returned the same sum"
            assert await load.values.get(load.name) >= max(load.sums)
        finally:
            await store.close()
        return pauses

    pauses = asyncio.run(scenario())
    with capsys.disabled():
        print(f"\n{driver}: confirmed again {', '.join(f'{pause:.1f}' for pause in pauses)} s after the primary died")
