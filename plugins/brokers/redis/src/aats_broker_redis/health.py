"""Whether the server is set up so that what it confirmed outlives it."""

from __future__ import annotations

from redis import exceptions
from redis.asyncio import Redis

from aats_broker_redis.link import command

NEEDED = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "min-replicas-to-write")


async def examine(client: Redis, replicas: int) -> list[str]:
    """Return what keeps the server from its promises, each with the setting that helps."""
    role = await command(client, "ROLE")
    if role[0] not in (b"master", "master"):
        raise exceptions.ReadOnlyError("it became a replica")
    present = len(role[2])
    problems = []
    if present + 1 < replicas:
        problems.append(
            f"{present + 1} of {replicas} servers that have to have each message are there, so none is confirmed: start"
            " replicas of this primary, or set a lower `replicas`"
        )
    written = await client.info("persistence")
    if "err" in (written.get("aof_last_write_status"), written.get("rdb_last_bgsave_status")):
        problems.append("the server cannot write its files, and takes no messages: make room on its disk, see its log")
    try:
        found = await client.config_get(*NEEDED)
    except exceptions.NoPermissionError:
        problems.append("the user may not read the server's settings: allow it `config|get`, so that they are checked")
    except exceptions.ResponseError as error:
        problems.append(
            f"the server does not tell its settings, see to appendfsync and maxmemory-policy yourself: {error}"
        )
    else:
        problems += judge({str(name): str(value) for name, value in found.items()}, present)
    return problems


def judge(settings: dict[str, str], replicas: int) -> list[str]:
    """Return what is wrong with these settings of a server that has so many replicas."""
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
    if int(wanted := settings.get("min-replicas-to-write", "0")) > replicas:
        problems.append(f"min-replicas-to-write is {wanted}, and {replicas} are there: the server takes no messages")
    return problems
