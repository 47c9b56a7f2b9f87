"""Carries messages through Apache Kafka."""

from aats_broker_kafka.broker import KafkaBroker
from aats_broker_kafka.settings import KafkaSettings

__all__ = ["KafkaBroker", "KafkaSettings"]
