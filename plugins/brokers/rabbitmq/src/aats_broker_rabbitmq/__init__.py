"""Carries messages over RabbitMQ."""

from aats_broker_rabbitmq.broker import RabbitBroker
from aats_broker_rabbitmq.settings import RabbitSettings

__all__ = ["RabbitBroker", "RabbitSettings"]
