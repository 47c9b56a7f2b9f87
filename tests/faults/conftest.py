"""Fixtures of the fault tests, and the table of what they saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import Scene
from tests.faults.table import STORES, TABLE, note
from tests.services.brokers import BENCHES, RABBIT_USER, Bench
from tests.services.fixtures import refuse
from tests.services.nats import NatsCluster
from tests.services.proxy import FaultProxy
from tests.services.rabbitmq import RabbitCluster
from tests.services.redis import TwiceReplicatedRedisCluster
from tests.services.service import Service

WINDOWS = pytest.StashKey[list[tuple[Any, ...]]]()

HEADS = {
    TABLE: ("broker", "fault", "kind", "confirmed", "refused", "lost", "repeated", "redelivered", "recovery (s)"),
    STORES: ("store", "fault", "kind", "confirmed", "failed", "lost", "wrong", "recovery (s)"),
    WINDOWS: ("broker", "setting", "confirmed", "lost", "age of the oldest of them (s)"),
}


CLUSTERS = {
    bench.name: bench
    for bench in (
        Bench(
            "nats, three servers",
            NatsCluster,
            lambda urls: {"plugin": "nats", "servers": urls.split(","), "replicas": 3},
        ),
        Bench(
            "rabbitmq, three nodes",
            RabbitCluster,
            lambda urls: {"plugin": "rabbitmq", "servers": urls.split(","), **RABBIT_USER},
        ),
        Bench(
            "redis, three masters with two replicas each",
            TwiceReplicatedRedisCluster,
            lambda urls: {"plugin": "redis", "servers": urls.split(","), "replicas": 2},
        ),
    )
}


@pytest.fixture(params=sorted(BENCHES))
def scene(request: pytest.FixtureRequest, service: Callable[[type[Any]], Any], tmp_path: Path) -> Iterator[Scene]:
    """Yield a scene on each broker; afterwards nothing is lost, nothing happened twice, and that is noted."""
    bench = BENCHES[request.param]
    server = service(bench.server)
    if server.given:
        pytest.skip(f"faults need a {bench.name} of their own, not the one of AATS_TEST_{bench.name.upper()}_URL")
    yield from played(request, bench, server, tmp_path)


@pytest.fixture(params=sorted(CLUSTERS))
def cluster_scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Yield a scene on each cluster, which runs for that alone."""
    bench = CLUSTERS[request.param]
    if reason := bench.server.missing():
        refuse(reason)
    cluster = bench.server(tmp_path / "cluster")
    try:
        cluster.start()
        yield from played(request, bench, cluster, tmp_path)
    finally:
        cluster.stop()


def played(request: pytest.FixtureRequest, bench: Bench, server: Service, directory: Path) -> Iterator[Scene]:
    """Yield a scene, and note what came of it."""
    with FaultProxy(server.behind, server.front) as proxy:
        scene = Scene(bench, server, proxy, directory)
        try:
            yield scene
        finally:
            scene.end()
            server.start()
    detail = request.node.callspec.id.replace(request.param, "").strip("-")
    note(request, scene, detail)


@pytest.fixture
def windows(request: pytest.FixtureRequest) -> list[tuple[Any, ...]]:
    """Return the rows that tell what was lost where the power was cut."""
    return request.config.stash.setdefault(WINDOWS, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what the faults did, as tables for the documentation."""
    for table, heads in HEADS.items():
        rows = config.stash.get(table, [])
        if rows:
            terminalreporter.section("faults")
            for row in (heads, ("---",) * len(heads), *sorted(rows, key=str)):
                terminalreporter.write_line(f"| {' | '.join(map(str, row))} |")
