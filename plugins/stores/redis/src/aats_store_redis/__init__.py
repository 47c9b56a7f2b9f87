"""The Redis store: keys, locks, sessions, channels, counters and records, on one server or a cluster."""

from aats_store_redis.channels import RedisChannels
from aats_store_redis.counters import RedisCounters
from aats_store_redis.sessions import RedisSessions
from aats_store_redis.settings import RedisSettings
from aats_store_redis.store import RedisStore

__all__ = ["RedisChannels", "RedisCounters", "RedisSessions", "RedisSettings", "RedisStore"]
