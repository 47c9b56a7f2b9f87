"""What the groups of one broker object share: its clients, and where dead letters go."""

from __future__ import annotations

from dataclasses import dataclass

from aats_broker_kafka.driver import Driver
from aats_broker_kafka.letters import Letters
from aats_broker_kafka.peers import Peers
from aats_broker_kafka.settings import KafkaSettings
from aats_broker_kafka.topics import Topics


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that a group needs."""

    settings: KafkaSettings
    driver: Driver
    topics: Topics
    letters: Letters
    peers: Peers
