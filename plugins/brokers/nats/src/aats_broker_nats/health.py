"""What an operator is told of the servers."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any

import msgspec

from aats_broker_nats.parts import Parts
from aats_core.errors import BrokerError
from aats_core.health import Health, HealthStatus

PATIENCE = 2.0
"""Seconds that a server may take to answer."""


async def health(parts: Parts) -> Health:
    """Ask the server, and say what is wrong, or what it does not promise as it is set up."""
    connection = parts.connection
    if not connection.up.is_set():
        return Health(HealthStatus.DOWN, str(connection.unavailable("not connected")))
    try:
        async with asyncio.timeout(min(PATIENCE, parts.settings.timeout)):
            info = await parts.jetstream.api(f"STREAM.INFO.{parts.names.messages}")
    except (BrokerError, TimeoutError) as error:
        return Health(HealthStatus.DOWN, str(error) or str(connection.unavailable("JetStream does not answer in time")))
    problems = [problem for problem in (_replicas(info), await _durability(parts)) if problem]
    return Health(HealthStatus.DEGRADED, "; ".join(problems)) if problems else Health()


def _replicas(info: dict[str, Any]) -> str:
    cluster = info.get("cluster") or {}
    late = [replica["name"] for replica in cluster.get("replicas") or () if not replica.get("current")]
    if not late:
        return ""
    return f"replicas {', '.join(late)} of the stream are behind or away: see to those servers"


async def _durability(parts: Parts) -> str:
    """Say what may become of a confirmed message when a machine loses power."""
    if parts.settings.durability == "accept":
        return ""
    window = "a message that was confirmed less than two minutes ago may be lost when the server's machine fails"
    end = "or set `durability = 'accept'`"
    if parts.connection.version < (2, 10):
        version = ".".join(map(str, parts.connection.version))
        return f"NATS {version} cannot sync each write: {window}; use 2.10 or later with `sync_interval: always`, {end}"
    if not parts.settings.monitoring:
        return (
            f"unknown whether the server syncs each write, without which {window}: set `sync_interval: always` there"
            f" and `monitoring` here, {end}"
        )
    try:
        setting = await asyncio.to_thread(_sync_always, parts.settings.monitoring)
    except (OSError, ValueError, KeyError) as error:
        return f"{parts.settings.monitoring} does not tell whether the server syncs each write ({error})"
    return "" if setting else f"{window}: set `sync_interval: always` in the server's `jetstream {{}}`, {end}"


def _sync_always(address: str) -> bool:
    with urllib.request.urlopen(f"{address.rstrip('/')}/varz", timeout=PATIENCE) as answer:  # noqa: S310 - http as the settings check
        told = msgspec.json.decode(answer.read())
    return bool(told["jetstream"]["config"].get("sync_always"))
