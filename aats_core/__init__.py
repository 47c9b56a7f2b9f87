"""Runs a team of long-lived service agents that carry out plans of work without losing any of it.

What agents and plugins are written with can be imported from here; each name is loaded when it is first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aats_core.agent import Agent, Effects, TaskContext
    from aats_core.broker import Broker, DeadLetter, Delivery, GroupStatus, Subscription, TopicStatus
    from aats_core.clock import Clock, RealClock, VirtualClock
    from aats_core.errors import (
        AatsError,
        BrokerError,
        BrokerUnavailable,
        Conflict,
        DuplicateKey,
        EffectUnknown,
        InvalidPayload,
        NotFound,
        Refused,
        RequestFailed,
        RequestTimeout,
        SettingsError,
        StoreError,
        StoreUnavailable,
        TaskFailed,
        UnknownReceiver,
    )
    from aats_core.handlers import on, subscribe, task
    from aats_core.health import Health, HealthStatus
    from aats_core.hookspecs import hookimpl
    from aats_core.integration import Integration
    from aats_core.message import Message
    from aats_core.migrations import Migration, MigrationContext
    from aats_core.settings import (
        AgentSettings,
        BrokerSettings,
        IntegrationSettings,
        PluginSettings,
        Seconds,
        StoreSettings,
        TeamInfo,
    )
    from aats_core.store import (
        Capability,
        Delete,
        GraphStore,
        Insert,
        KeyValueStore,
        Put,
        Records,
        RecordStore,
        Require,
        Store,
        Update,
        VectorStore,
    )
    from aats_core.task import Plan, Retries, Task, TaskState, When

__all__ = [
    "AatsError",
    "Agent",
    "AgentSettings",
    "Broker",
    "BrokerError",
    "BrokerSettings",
    "BrokerUnavailable",
    "Capability",
    "Clock",
    "Conflict",
    "DeadLetter",
    "Delete",
    "Delivery",
    "DuplicateKey",
    "EffectUnknown",
    "Effects",
    "GraphStore",
    "GroupStatus",
    "Health",
    "HealthStatus",
    "Insert",
    "Integration",
    "IntegrationSettings",
    "InvalidPayload",
    "KeyValueStore",
    "Message",
    "Migration",
    "MigrationContext",
    "NotFound",
    "Plan",
    "PluginSettings",
    "Put",
    "RealClock",
    "RecordStore",
    "Records",
    "Refused",
    "RequestFailed",
    "RequestTimeout",
    "Require",
    "Retries",
    "Seconds",
    "SettingsError",
    "Store",
    "StoreError",
    "StoreSettings",
    "StoreUnavailable",
    "Subscription",
    "Task",
    "TaskContext",
    "TaskFailed",
    "TaskState",
    "TeamInfo",
    "TopicStatus",
    "UnknownReceiver",
    "Update",
    "VectorStore",
    "VirtualClock",
    "When",
    "hookimpl",
    "on",
    "subscribe",
    "task",
]

_HOMES = {
    "agent": ("Agent", "Effects", "TaskContext"),
    "broker": ("Broker", "DeadLetter", "Delivery", "GroupStatus", "Subscription", "TopicStatus"),
    "clock": ("Clock", "RealClock", "VirtualClock"),
    "handlers": ("on", "subscribe", "task"),
    "health": ("Health", "HealthStatus"),
    "hookspecs": ("hookimpl",),
    "integration": ("Integration",),
    "message": ("Message",),
    "migrations": ("Migration", "MigrationContext"),
    "settings": (
        "AgentSettings",
        "BrokerSettings",
        "IntegrationSettings",
        "PluginSettings",
        "Seconds",
        "StoreSettings",
        "TeamInfo",
    ),
    "store": (
        "Capability",
        "Delete",
        "GraphStore",
        "Insert",
        "KeyValueStore",
        "Put",
        "RecordStore",
        "Records",
        "Require",
        "Store",
        "Update",
        "VectorStore",
    ),
    "task": ("Plan", "Retries", "Task", "TaskState", "When"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `task` the decorator, although importing the module `aats_core.task` would bind that to the name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "task" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
