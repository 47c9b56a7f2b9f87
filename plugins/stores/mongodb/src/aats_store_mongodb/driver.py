"""The seam between MongoDB's two asynchronous drivers: the calls in which they differ, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from aats_core.store import Document
from aats_store_mongodb.settings import DriverName
from aats_store_mongodb.wire import restored


class Driver(ABC):
    """A client, and how to ask it for what each library wants to be asked for in its own way."""

    def __init__(self, client: Any) -> None:
        self.client = client

    @abstractmethod
    async def start_session(self, **options: Any) -> Any:
        """Return a new session."""

    @abstractmethod
    async def begin(self, session: Any, **options: Any) -> None:
        """Begin a transaction in a session."""

    @abstractmethod
    async def aggregate(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], session: Any) -> list[Document]:
        """Return what comes out of a pipeline."""

    @abstractmethod
    async def watch(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> tuple[Any, Any]:
        """Open a change stream; returns it, and a change that was read with that or None."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""


class PymongoDriver(Driver):
    """PyMongo's own `AsyncMongoClient`."""

    async def start_session(self, **options: Any) -> Any:
        """Return a new session."""
        return self.client.start_session(**options)

    async def begin(self, session: Any, **options: Any) -> None:
        """Begin a transaction in a session."""
        await session.start_transaction(**options)

    async def aggregate(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], session: Any) -> list[Document]:
        """Return what comes out of a pipeline."""
        found: list[Document] = restored(await (await collection.aggregate(pipeline, session=session)).to_list(None))
        return found

    async def watch(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> tuple[Any, Any]:
        """Open a change stream."""
        return await collection.watch(pipeline, **options), None

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()


class MotorDriver(Driver):
    """Motor, which has PyMongo's blocking client work in threads."""

    async def start_session(self, **options: Any) -> Any:
        """Return a new session."""
        return await self.client.start_session(**options)

    async def begin(self, session: Any, **options: Any) -> None:
        """Begin a transaction in a session."""
        session.start_transaction(**options)

    async def aggregate(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], session: Any) -> list[Document]:
        """Return what comes out of a pipeline."""
        found: list[Document] = restored(await collection.aggregate(pipeline, session=session).to_list(None))
        return found

    async def watch(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> tuple[Any, Any]:
        """Open a change stream, which Motor does when it is first asked for a change."""
        stream = collection.watch(pipeline, **options)
        return stream, await stream.try_next()

    async def close(self) -> None:
        """Close all connections."""
        self.client.close()


def open_driver(name: DriverName, url: str, options: Mapping[str, Any]) -> Driver:
    """Return a driver with a client that connects when it is first asked for something.

    Raises `ImportError` where the library is not installed, and PyMongo's errors where the address is none.
    """
    if name is DriverName.MOTOR:
        from motor.motor_asyncio import AsyncIOMotorClient

        return MotorDriver(AsyncIOMotorClient(url, **options))
    from pymongo import AsyncMongoClient

    return PymongoDriver(AsyncMongoClient(url, **options))
