"""A master of Redis dies and its replica takes over: what was confirmed and not replicated by then is gone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from aats_core.broker import Broker
from aats_core.errors import BrokerError
from aats_core.message import Message
from tests.faults.scene import Scene
from tests.faults.table import note
from tests.faults.test_broker_faults import LEADERLESS, connected, load
from tests.faults.test_power_cut import GROUP, TOPIC, consume
from tests.services import RedisServer
from tests.services.brokers import Bench, make_broker
from tests.services.fixtures import refuse
from tests.services.proxy import Fault, FaultProxy
from tests.services.redis import ReplicatedRedisCluster

pytestmark = pytest.mark.faults

REPLICATED = Bench(
    "redis, three masters with a replica each",
    ReplicatedRedisCluster,
    lambda urls: {"plugin": "redis", "servers": urls.split(",")},
)
PATIENCE = 30.0
LOAD = 5.0
PACE = 0.005


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ReplicatedRedisCluster]:
    """Yield a running cluster."""
    if reason := ReplicatedRedisCluster.missing():
        refuse(reason)
    cluster = ReplicatedRedisCluster(tmp_path / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def scene(request: pytest.FixtureRequest, cluster: ReplicatedRedisCluster, tmp_path: Path) -> Iterator[Scene]:
    """Yield a scene on the cluster, which may lose what it did not replicate; how much that is, is noted."""
    with FaultProxy(cluster.port) as unused:
        scene = Scene(REPLICATED, cluster, unused, tmp_path)
        try:
            yield scene
        finally:
            scene.end()
    note(request, scene, "", keeps=False)


def test_the_leader_of_a_cluster_is_killed_under_load(scene: Scene, cluster: ReplicatedRedisCluster) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            for _ in range(2):
                scene.consume()
            async with load(scene, broker):
                await asyncio.sleep(scene.random.uniform(0.5, 1.5))
                leader = await asyncio.to_thread(cluster.leader, "aats")
                await asyncio.to_thread(leader.kill)
                before = set(scene.confirmed)
                scene.recovery = await scene.until(lambda: scene.handled() - before, LEADERLESS, lambda: "no flow")
                newest = max(scene.confirmed)
                await asyncio.to_thread(cluster.start)
            await empty(scene, broker)
            assert await broker.dead_letters(scene.job.topic) == []
            assert all(value <= newest for value in scene.missing()), "lost what the new leader had confirmed"

    asyncio.run(scenario())


class Case(NamedTuple):
    """How master and broker are set up, and what becomes of messages for a replica that does not hear of them."""

    setting: str
    server: dict[str, str]
    section: dict[str, int]
    refuses: bool
    loses: bool


CASES = [
    Case("min-replicas-to-write 0 (default)", {}, {}, refuses=False, loses=True),
    Case(
        "min-replicas-to-write 1, min-replicas-max-lag 2",
        {"min_replicas_to_write": "1", "min_replicas_max_lag": "2"},
        {},
        refuses=True,
        loses=True,
    ),
    Case("the broker's replicas = 2", {}, {"replicas": 2}, refuses=True, loses=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.setting)
def test_a_master_dies_whose_replica_lags(
    case: Case, own_service: Callable[..., RedisServer], windows: list[tuple[object, ...]]
) -> None:
    master, replica = own_service(RedisServer, **case.server), own_service(RedisServer)
    with FaultProxy(master.port) as line:
        replica.ask(f"REPLICAOF 127.0.0.1 {line.port}")
        kept, risked, seen, refused = asyncio.run(scenario(case, master, replica, line))
    confirmed = kept | risked
    lost = confirmed.keys() - seen
    age = max(confirmed.values()) - min((confirmed[number] for number in lost), default=max(confirmed.values()))
    setting = f"a replica that lags, {case.setting}"
    windows.append(("redis", setting, len(confirmed), len(lost), f"{age:.1f}" if lost else ""))
    assert kept.keys() <= seen
    assert refused == case.refuses
    assert case.refuses or lost == risked.keys()
    assert case.loses or not lost


async def scenario(
    case: Case, master: RedisServer, replica: RedisServer, line: FaultProxy
) -> tuple[dict[int, float], dict[int, float], set[int], bool]:
    """Return what was confirmed before the replica lagged, and while it did, what it has, and whether one was refused.

    What the master sends does not reach the replica any more, later the master dies, and the replica takes its place.
    """
    kept: dict[int, float] = {}
    risked: dict[int, float] = {}
    section = {"plugin": "redis", "servers": [master.url, replica.url], "timeout": 5.0, "lease": 5.0, **case.section}
    await in_step(master)
    broker = make_broker(section)
    await broker.connect()
    async with broker.subscribe(TOPIC, GROUP):
        await publish(broker, range(100), kept, PATIENCE)
        await in_step(master)
        line.inject(Fault.STALL)
        refused = not await publish(broker, range(100, 1_000_000), risked, PATIENCE if case.refuses else LOAD)
        line.inject(Fault.CUT)
        await asyncio.to_thread(master.kill)
        replica.ask("REPLICAOF NO ONE")
    await broker.close()
    return kept, risked, await consume(make_broker(section)), refused


async def publish(broker: Broker, numbers: range, confirmed: dict[int, float], seconds: float) -> bool:
    """Publish numbers for some seconds at most and note when each was confirmed; tells whether none was refused."""
    until = time.monotonic() + seconds
    for number in numbers:
        if time.monotonic() > until:
            break
        try:
            await broker.publish(TOPIC, Message("number", number))
        except BrokerError:
            return False
        confirmed[number] = time.monotonic()
        await asyncio.sleep(PACE)
    return True


async def in_step(master: RedisServer) -> None:
    """Wait until the replica has confirmed everything that the master has now, and counts as a good one."""
    wanted = int(told(master)["master_repl_offset"])
    async with asyncio.timeout(PATIENCE):
        while not (
            (found := re.search(r"state=online,offset=(\d+)", told(master).get("slave0", "")))
            and int(found[1]) >= wanted
            and told(master).get("min_slaves_good_slaves") != "0"
        ):
            await asyncio.sleep(0.05)


def told(master: RedisServer) -> dict[str, str]:
    """Return what a master says of its replicas."""
    return dict(re.findall(r"(\w+):(.*?)\r", master.ask("INFO replication").decode()))


async def empty(scene: Scene, broker: Broker) -> None:
    """Wait until the broker has no message left, so that what has had no effect by then never will."""
    async with asyncio.timeout(LEADERLESS):
        while any(group.waiting or group.held for topic in await broker.topics() for group in topic.groups):
            await asyncio.sleep(0.1)
