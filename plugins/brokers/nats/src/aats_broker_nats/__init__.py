"""Carries messages through NATS JetStream."""

from aats_broker_nats.broker import NatsBroker
from aats_broker_nats.settings import NatsSettings

__all__ = ["NatsBroker", "NatsSettings"]
