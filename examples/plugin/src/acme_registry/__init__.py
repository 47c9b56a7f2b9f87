"""Keeps released files in a registry, each name once."""

from acme_registry.agent import Registry
from acme_registry.settings import RegistrySettings

__all__ = ["Registry", "RegistrySettings"]
