"""Whether the server is set up so that what it confirmed outlives it."""

from __future__ import annotations

from redis import exceptions
from redis.asyncio import Redis

from aats_broker_redis.link import command

NEEDED = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


async def examine(client: Redis, replicas: int) -> list[str]:
    """Return what keeps the server from its promises, each with the setting that helps."""
    present = 1 + len((await command(client, "ROLE"))[2])
    problems = []
    if present < replicas:
        problems.append(
            f"{present} of {replicas} servers that have to have each message are there, so none is confirmed: start"
            " replicas of this primary, or set a lower `replicas`"
        )
    return problems + await _examine_settings(client)


async def _examine_settings(client: Redis) -> list[str]:
    try:
        found = await client.config_get(*NEEDED)
    except exceptions.NoPermissionError:
        return ["the user may not read the server's settings: allow it `config|get`, so that they can be checked"]
    except exceptions.ResponseError as error:
        return [f"the server does not tell its settings, see to appendfsync and maxmemory-policy yourself: {error}"]
    return judge({str(name): str(value) for name, value in found.items()})


def judge(settings: dict[str, str]) -> list[str]:
    """Return what is wrong with these settings of a server."""
    problems = []
    if settings.get("appendonly") != "yes":
        problems.append("a restart of the server loses confirmed messages: set `appendonly yes`, `appendfsync always`")
    elif (sync := settings.get("appendfsync")) != "always":
        lost = "the last second" if sync == "everysec" else "some time"
        problems.append(f"appendfsync is {sync}, a crash loses {lost} of confirmed messages: set `appendfsync always`")
    policy = settings.get("maxmemory-policy")
    if settings.get("maxmemory", "0") != "0" and policy != "noeviction":
        problems.append(
            f"maxmemory-policy is {policy}, a full server drops messages: set `maxmemory-policy noeviction`"
        )
    return problems
