"""Real servers for the tests, each on a free loopback port with a data directory of its own."""

from __future__ import annotations

from tests.services.kafka import KafkaServer
from tests.services.mongodb import MongoServer, MongoSet
from tests.services.nats import NatsServer
from tests.services.neo4j import Neo4jServer
from tests.services.postgres import PostgresServer
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import RedisCluster, RedisServer
from tests.services.service import Service

SERVERS: dict[str, type[Service]] = {
    server.name: server
    for server in (
        KafkaServer,
        MongoServer,
        MongoSet,
        NatsServer,
        Neo4jServer,
        PostgresServer,
        RabbitServer,
        RedisServer,
        RedisCluster,
    )
}

__all__ = [
    "SERVERS",
    "KafkaServer",
    "MongoServer",
    "MongoSet",
    "NatsServer",
    "Neo4jServer",
    "PostgresServer",
    "RabbitServer",
    "RedisCluster",
    "RedisServer",
]
