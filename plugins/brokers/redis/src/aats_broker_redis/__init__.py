"""Carries messages over Redis streams."""

from aats_broker_redis.broker import RedisBroker
from aats_broker_redis.settings import RedisSettings

__all__ = ["RedisBroker", "RedisSettings"]
