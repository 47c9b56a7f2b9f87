"""Carries messages within one process."""

from aats_broker_memory.broker import MemoryBroker
from aats_broker_memory.settings import MemorySettings

__all__ = ["MemoryBroker", "MemorySettings"]
