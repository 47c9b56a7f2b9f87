"""How the public API looks to a type checker where an agent is written; `nox -s lint` checks it, nothing runs it."""

from __future__ import annotations

from typing import Annotated, Any, assert_type

import msgspec
from pydantic import Field

from aats_core import (
    Agent,
    AgentSettings,
    Clock,
    Message,
    RecordStore,
    TaskContext,
    TeamInfo,
    on,
    subscribe,
    task,
)
from aats_core.store import Document, Update, UpdateResult


class Upload(msgspec.Struct):
    """A payload."""

    file: str


class RegistrySettings(AgentSettings):
    """Settings of one's own."""

    url: Annotated[str, Field(description="Where to.")] = ""


class Registry(Agent):
    """An agent with a collaborator, settings, and handlers of every sort."""

    Settings = RegistrySettings
    settings: RegistrySettings

    def __init__(self, settings: RegistrySettings, records: RecordStore, info: TeamInfo, clock: Clock) -> None:
        self.settings = settings
        self.records = records
        assert_type(info.node, str)
        assert_type(clock.time(), float)

    async def start(self) -> None:
        assert_type(self.settings.url, str)
        assert_type(await self.request("other", "ask", 1, timeout=2.0), Any)
        await self.send("other", "tell", {"a": 1})
        await self.publish("system.events.up", "up")

    @on("ask")
    async def ask(self, number: int) -> str:
        return str(number)

    @on("raw")
    async def raw(self, message: Message) -> None:
        assert_type(message.read(int), int)
        assert_type(message.subject, str)

    @subscribe("system.events.*")
    async def event(self, text: str) -> None: ...

    @task("registry.upload")
    async def upload(self, payload: Upload, ctx: TaskContext) -> dict[str, str]:
        await ctx.report("half of it")
        assert_type(ctx.attempt, int)
        assert_type(await ctx.effects.once("upload", self.start), Any)
        ctx.effects.store(Update("uploads", {"_id": payload.file}, {"$inc": {"count": 1}}, upsert=True))
        assert_type(await self.records.find("uploads", limit=1), list[Document])
        assert_type(await self.records.update("uploads", {}, {"$set": {"a": 1}}), UpdateResult)
        return {"file": payload.file}


def handlers_stay_methods(registry: Registry, ctx: TaskContext) -> None:
    """A handler can be called as the method that it is."""

    async def call() -> None:
        assert_type(await registry.ask(1), str)
        assert_type(await registry.upload(Upload("f"), ctx), dict[str, str])
