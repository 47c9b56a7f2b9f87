"""The way to the servers: which of them has a key, found at first and again whenever that changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.crc import key_slot

from aats_core.errors import StoreUnavailable
from aats_store_redis.failures import LOST, Unsent, is_hopeless, is_unapplied, reason, translate
from aats_store_redis.node import Command, Node, Reply
from aats_store_redis.scripts import Script, Word
from aats_store_redis.settings import Address, RedisSettings, parse_address

_OLDEST = 7
_HOPS = 5
_SLOTS = 16384
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two attempts, growing by the half."""


class Link:
    """Asks the server that holds a key, whichever that is at the moment."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._addresses = [parse_address(url) for url in settings.servers]
        self._nodes: dict[Address, Node] = {}
        self._map: list[Node] = []
        """One server, or that of each slot of a cluster; none where they have to be looked for."""
        self._looking = asyncio.Lock()
        self._open = False

    @property
    def place(self) -> str:
        """Where the servers are, for messages."""
        return ", ".join(map(str, self._addresses))

    @property
    def is_cluster(self) -> bool:
        """Whether several servers share the keys."""
        return len(self._map) > 1

    @property
    def nodes(self) -> list[Node]:
        """The servers that hold keys."""
        return list(dict.fromkeys(self._map))

    async def open(self) -> None:
        """Find the servers; raises `StoreUnavailable` where that takes longer than the timeout."""
        if any(address.tls for address in self._addresses):
            self._settings.tls.context()  # says which file cannot be used, better than every attempt would
        self._open = True
        try:
            await self.ask("", "PING", repeat=True)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was begun and close all connections."""
        self._open = False
        for node in list(self._nodes.values()):
            await node.drain()
            await node.close()
        self._nodes.clear()
        self._map = []

    def native(self) -> Redis | RedisCluster:
        """Return a client of the driver over the same servers, with connections of its own."""
        node = self._map[0]
        return node.cluster_client() if self.is_cluster else node.client()

    async def server(self) -> Node:
        """Return a server that holds keys; raises `StoreUnavailable` where there is none in time."""
        await self.ask("", "PING", repeat=True)
        return await self._holder("")

    async def run(self, script: Script, key: str, *arguments: Word, repeat: bool = False) -> Reply:
        """Run a script on the server that has a key."""
        try:
            return await self.ask(key, "EVALSHA", script.digest, 1, key, *arguments, repeat=repeat)
        except exceptions.NoScriptError:
            return await self.ask(key, "EVAL", script.text, 1, key, *arguments, repeat=repeat)

    async def ask(self, key: str, *command: Word, repeat: bool = False) -> Reply:
        """Return the answer to a command of the server that has a key.

        It is given again where it surely was not carried out, and with `repeat` also where that is not known. Raises
        `StoreUnavailable` where there is no answer in time.
        """
        try:
            return await self._ask(key, command, repeat=repeat)
        except exceptions.NoScriptError:
            raise
        except (exceptions.RedisError, OSError) as error:
            raise translate(error, self.place) from error

    async def _ask(self, key: str, command: Command, *, repeat: bool) -> Reply:
        trouble, pause = "", _FIRST_PAUSE
        try:
            async with asyncio.timeout(self._settings.timeout):
                while True:
                    try:
                        return await self._ask_once(key, command)
                    except Unsent as error:
                        trouble = str(error)
                        if error.later:
                            raise self._away(trouble) from error
                    except LOST as error:
                        if not repeat:
                            raise
                        trouble = reason(error)
                    await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the load, hides nothing
                    pause = min(pause * 1.5, _LONGEST_PAUSE)
        except TimeoutError as error:
            raise self._away(trouble) if trouble else self._silent() from error

    def _away(self, trouble: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self.place}: cannot be reached; start the server, or check `servers` ({trouble})")

    def _silent(self) -> StoreUnavailable:
        seconds = f"{self._settings.timeout:g} seconds"
        return StoreUnavailable(f"{self.place}: no answer within {seconds}; whether a write was applied is not known")

    async def _ask_once(self, key: str, command: Command) -> Reply:
        """Ask; raises `Unsent` where it surely was not carried out. Servers that failed are looked for again."""
        try:
            node = await self._holder(key)
            return await node.ask(command)
        except exceptions.MovedError as error:
            self._map = []
            raise Unsent(f"the key has moved ({error})") from error
        except exceptions.AskError as error:
            return await self._node(_beside(node.address, error.host, error.port)).follow(command)
        except (Unsent, *LOST):
            self._map = []
            raise
        except exceptions.ResponseError as error:
            if not is_unapplied(error):
                raise
            self._map = []
            raise Unsent(f"{node.address}: {error}") from error

    async def _holder(self, key: str) -> Node:
        servers = self._map or await self._find()
        return servers[0] if len(servers) == 1 else servers[key_slot(key.encode())]

    async def _find(self) -> list[Node]:
        """Return the servers as one of those that are known names them."""
        async with self._looking:
            if self._map:
                return self._map
            if not self._open:
                raise StoreUnavailable(f"{self.place}: the store is not connected")
            failures: list[str] = []
            later = True
            known = list(dict.fromkeys((*self._addresses, *self._nodes)))
            for address in known:
                try:
                    async with asyncio.timeout(self._settings.timeout / max(2, len(known))):  # the others get theirs
                        self._map = await self._follow(address)
                except (*LOST, exceptions.RedisError, Unsent) as error:
                    if is_hopeless(error):
                        raise
                    failures.append(str(error) or f"{address}: {reason(error)}")
                    later &= isinstance(error, Unsent) and error.later
                else:
                    return self._map
            raise Unsent("; ".join(failures), later=later)

    async def _follow(self, address: Address) -> list[Node]:
        """Return the servers to which an address leads: replicas point to their server, a node names all others."""
        for _ in range(_HOPS):
            node = self._node(address)
            info = _fields(await node.ask(("INFO",)))
            version = info["redis_version"]
            if int(version.partition(".")[0]) < _OLDEST:
                raise StoreUnavailable(f"{address}: is Redis {version}; {_OLDEST}.0 or newer is needed")
            if info.get("cluster_enabled") == "1":
                return self._slots(address, await node.ask(("CLUSTER", "SLOTS")))
            if info["role"] == "master":
                return [node]
            address = _beside(address, info["master_host"], int(info["master_port"]))
        raise Unsent(f"{address}: leads nowhere after {_HOPS} hops")

    def _slots(self, asked: Address, answer: Sequence[Any]) -> list[Node]:
        servers: list[Node | None] = [None] * _SLOTS
        for first, last, (host, port, *_), *_ in answer:
            node = self._node(_beside(asked, (host or b"").decode(), port))
            servers[first : last + 1] = [node] * (last + 1 - first)
        if None in servers:
            raise Unsent(f"{asked}: the cluster has no server for some of its keys")
        return [node for node in servers if node is not None]

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(address, self._settings)
        return node


def _beside(address: Address, host: str, port: int) -> Address:
    """Return the address of another server that one has named."""
    return address._replace(host=host or address.host, port=port)


def _fields(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}
