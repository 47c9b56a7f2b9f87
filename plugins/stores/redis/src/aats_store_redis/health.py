"""Whether the servers are set up so that what they confirmed outlives them."""

from __future__ import annotations

import asyncio

from redis import exceptions

from aats_core.errors import AatsError
from aats_core.health import Health, HealthStatus
from aats_store_redis.failures import LOST, Unsent
from aats_store_redis.link import Link
from aats_store_redis.node import Node

_NEEDED = ("appendonly", "appendfsync", "maxmemory-policy")


async def examine(link: Link) -> Health:
    """Say whether all servers can be reached and written, and which of their settings lose data."""
    try:
        await link.ask("", "PING", repeat=True)
        found = await asyncio.gather(*map(_problems, link.nodes))
    except AatsError as error:
        return Health(HealthStatus.DOWN, str(error))
    except (*LOST, Unsent) as error:
        return Health(HealthStatus.DOWN, f"{link.place}: a server cannot be reached; start it ({error})")
    problems = dict.fromkeys(problem for each in found for problem in each)
    return Health(HealthStatus.DEGRADED, "; ".join(problems)) if problems else Health()


async def _problems(node: Node) -> list[str]:
    try:
        answer = await node.ask(("CONFIG", "GET", *_NEEDED))
    except exceptions.NoPermissionError:
        return ["the user may not read the server's settings: allow it `config|get`, so that they can be checked"]
    except exceptions.ResponseError as error:
        return [f"the server does not tell its settings, see to appendfsync and maxmemory-policy yourself: {error}"]
    return judge({name.decode(): value.decode() for name, value in zip(answer[::2], answer[1::2], strict=True)})


def judge(settings: dict[str, str]) -> list[str]:
    """Return what is wrong with these settings of a server."""
    problems = []
    if settings.get("appendonly") != "yes":
        problems.append("a restart of the server loses confirmed writes: set `appendonly yes`, `appendfsync always`")
    elif (sync := settings.get("appendfsync")) != "always":
        lost = "the last second" if sync == "everysec" else "some time"
        problems.append(f"appendfsync is {sync}, a crash loses {lost} of confirmed writes: set `appendfsync always`")
    if (policy := settings.get("maxmemory-policy")) != "noeviction":
        problems.append(f"maxmemory-policy is {policy}, a full server drops data: set `maxmemory-policy noeviction`")
    return problems
