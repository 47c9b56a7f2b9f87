"""The brokers that are put to the test, each with its server and the section of a team file that leads to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from aats_core.broker import Broker
from aats_core.plugins import PluginKind, discover, settings_model
from tests.services import KafkaServer, NatsServer, RabbitServer, RedisServer
from tests.services.service import Service

Section = dict[str, Any]


class Bench(NamedTuple):
    """A broker plugin, the server it needs, and its section for a server at a URL."""

    name: str
    server: type[Service]
    section: Callable[[str], Section]


RABBIT_USER = {"user": RabbitServer.user, "password": RabbitServer.password}

BENCHES = {
    bench.name: bench
    for bench in (
        Bench("rabbitmq", RabbitServer, lambda url: {"plugin": "rabbitmq", "servers": [url], **RABBIT_USER}),
        Bench("redis", RedisServer, lambda url: {"plugin": "redis", "servers": [url]}),
        Bench(
            "kafka",
            KafkaServer,
            lambda url: {"plugin": "kafka", "servers": [url], "replication_factor": 1, "session": 2, "heartbeat": 0.2},
        ),
        Bench("nats", NatsServer, lambda url: {"plugin": "nats", "servers": [url]}),
    )
}


def make_broker(section: Section) -> Broker:
    """Return an unconnected broker as a team would make it of its section."""
    cls = discover().load(PluginKind.BROKER, section["plugin"])
    broker: Broker = cls(settings_model(PluginKind.BROKER, cls).model_validate(section))
    return broker
