"""The agent: uploads files as tasks, and answers other agents what it has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from aats_core import Agent, AgentSettings, TaskContext, TaskFailed, on, task

from acme_registry.settings import RegistrySettings
from acme_registry.shelf import Entry, Shelf, Taken, describe


class Upload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of a task of kind `registry.upload`: which file to put into the registry."""

    file: str


class Registry(Agent):
    """Keeps released files in a registry, each name once."""

    Settings: ClassVar[type[AgentSettings]] = RegistrySettings

    @task("registry.upload")
    async def upload(self, payload: Upload, ctx: TaskContext) -> Entry:
        """Put a file into the registry; its output is the name, the checksum and the size.

        However often the task is tried, also after a crash in the middle, the file is uploaded once.
        """
        file = Path(payload.file)
        expected = await asyncio.to_thread(self._inspect, file)
        await ctx.report(f"{file.name}, {expected.size:,} bytes")

        async def add() -> Any:
            return msgspec.to_builtins(await asyncio.to_thread(self._add, file))

        async def was_added(_: str) -> Any:
            found = await asyncio.to_thread(self._shelf().find, file.name)
            return msgspec.to_builtins(found) if found == expected else None

        outcome = await ctx.effects.once(f"upload {file.name}", add, check=was_added)
        return msgspec.convert(outcome, Entry)

    @on("registry.find")
    async def find(self, name: str) -> Entry | None:
        """Answer what stands under a name, or nothing."""
        return await asyncio.to_thread(self._shelf().find, name)

    @on("registry.list")
    async def list_entries(self) -> list[Entry]:
        """Answer everything there is."""
        return await asyncio.to_thread(self._shelf().entries)

    def _shelf(self) -> Shelf:
        return Shelf(self.settings.root)

    def _inspect(self, file: Path) -> Entry:
        try:
            entry = describe(file)
        except OSError as error:
            raise TaskFailed(f"{file} cannot be read: {error.strerror}") from error
        limit = self.settings.max_bytes
        if entry.size > limit:
            raise TaskFailed(f"{file} has {entry.size:,} bytes, the registry takes {limit:,} (max_bytes)", retry=False)
        return entry

    def _add(self, file: Path) -> Entry:
        try:
            return self._shelf().add(file)
        except Taken as error:
            raise TaskFailed(f"{error}; release it under another version", retry=False) from error
        except OSError as error:
            raise TaskFailed(f"{file} cannot be uploaded: {error.strerror}") from error
