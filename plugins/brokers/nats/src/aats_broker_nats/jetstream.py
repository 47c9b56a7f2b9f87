"""The requests that set up and read JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from nats.aio.msg import Msg

from aats_broker_nats.connection import Connection, NoAnswer
from aats_broker_nats.names import Names
from aats_broker_nats.settings import NatsSettings
from aats_core.errors import BrokerError

NANOSECONDS = 1_000_000_000
RETRY = 0.1
"""Seconds between two requests to a server whose JetStream is not yet up."""

STREAM_DIFFERS, CONSUMER_GONE, NO_STREAM = 10058, 10014, 10059
NOT_YET = {10008, 10023, 10039, 10074}
PAGE = 256


class ApiError(BrokerError):
    """JetStream refused a request; `code` is its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class JetStream:
    """Makes the streams and consumers, and asks about them."""

    def __init__(self, connection: Connection, settings: NatsSettings, names: Names) -> None:
        self._connection = connection
        self._settings = settings
        self._names = names

    async def api(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the JetStream interface; waits up to the timeout for a server that is not ready yet."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout
        data = msgspec.json.encode(body) if body is not None else b""
        while True:
            left = max(deadline - loop.time(), 0.01)
            try:
                raw = await self._connection.request(f"$JS.API.{subject}", data, timeout=left)
            except NoAnswer as error:
                if loop.time() + RETRY > deadline:
                    raise self._connection.unavailable(
                        "JetStream does not answer; is it enabled for this account (`jetstream {}` in the server's"
                        " configuration)?"
                    ) from error
                await asyncio.sleep(RETRY)
                continue
            answer: dict[str, Any] = msgspec.json.decode(raw)
            problem = answer.get("error")
            if problem is None:
                return answer
            if problem.get("err_code") in NOT_YET and loop.time() + RETRY <= deadline:
                await asyncio.sleep(RETRY)
                continue
            raise ApiError(f"NATS refused {subject}: {problem.get('description')}", problem.get("err_code", 0))

    async def set_up(self) -> None:
        """Make the streams that are not there, and give those that are what the settings say."""
        names, settings = self._names, self._settings
        window = 2 * settings.timeout + 10
        age = settings.max_age
        await self._stream(
            names.messages,
            retention=settings.retention,
            max_age=age,
            duplicate_window=min(window, age) if age else window,
        )
        await self._stream(names.dead, duplicate_window=window)
        await self._stream(names.attempts, max_msgs_per_subject=1)
        await self._stream(names.owners, max_msgs_per_subject=1, max_age=settings.failover)

    async def _stream(
        self,
        name: str,
        *,
        retention: str = "limits",
        max_age: float = 0,
        duplicate_window: float = 0,
        max_msgs_per_subject: int = -1,
    ) -> None:
        config = {
            "name": name,
            "subjects": [self._names.subjects(name)],
            "retention": retention,
            "storage": "file",
            "num_replicas": self._settings.replicas,
            "discard": "old",
            "max_age": int(max_age * NANOSECONDS),
            "duplicate_window": int((duplicate_window or min(max_age or 120, 120)) * NANOSECONDS),
            "max_msgs_per_subject": max_msgs_per_subject,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_consumers": -1,
            "max_msg_size": -1,
            "allow_direct": True,
        }
        try:
            await self.api(f"STREAM.CREATE.{name}", config)
        except ApiError as error:
            if error.code != STREAM_DIFFERS:
                raise
            await self.api(f"STREAM.UPDATE.{name}", config)

    async def make_consumer(self, name: str, pattern: str, group: str, *, ephemeral: int = 0) -> None:
        """Make a group's consumer, or find it made; an ephemeral one may hold so many messages unacknowledged."""
        config: dict[str, Any] = {
            "description": msgspec.json.encode([pattern, group]).decode(),
            "deliver_policy": "all" if self._settings.retention == "workqueue" else "new",
            "ack_policy": "explicit",
            "ack_wait": int(self._settings.lease * NANOSECONDS),
            "max_deliver": -1,
            "filter_subject": self._names.message(pattern),
            "replay_policy": "instant",
            "max_ack_pending": ephemeral or -1,
            "max_waiting": 512,
        }
        if ephemeral:
            config |= {"name": name, "inactive_threshold": int(self._settings.lease * NANOSECONDS), "mem_storage": True}
            subject = f"CONSUMER.CREATE.{self._names.messages}.{name}"
        else:
            config["durable_name"] = name
            subject = f"CONSUMER.DURABLE.CREATE.{self._names.messages}.{name}"
        await self.api(subject, {"stream_name": self._names.messages, "config": config})

    async def consumer(self, name: str) -> dict[str, Any]:
        """Return what the server knows of a group's consumer."""
        return await self.api(f"CONSUMER.INFO.{self._names.messages}.{name}")

    async def delete_consumer(self, name: str) -> None:
        """End a group's consumer; one that is gone already is no error."""
        try:
            await self.api(f"CONSUMER.DELETE.{self._names.messages}.{name}")
        except ApiError as error:
            if error.code != CONSUMER_GONE:
                raise

    async def consumers(self) -> list[dict[str, Any]]:
        """Return all consumers of the messages."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.api(f"CONSUMER.LIST.{self._names.messages}", {"offset": len(found)})
            found += page.get("consumers") or []
            if len(found) >= page["total"] or not page.get("consumers"):
                return found

    async def subjects(self, stream: str, filter: str) -> dict[str, int]:
        """Return how many messages each subject of a stream holds."""
        found: dict[str, int] = {}
        while True:
            page = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": filter, "offset": len(found)})
            more = page["state"].get("subjects") or {}
            found |= more
            if not more or len(found) >= page.get("total", len(found)):
                return found

    async def last(self, stream: str, subject: str) -> Msg | None:
        """Return the last message of a subject."""
        return await self._direct(stream, {"last_by_subj": subject})

    async def get(self, stream: str, sequence: int) -> Msg | None:
        """Return one message."""
        return await self._direct(stream, {"seq": sequence})

    async def read(self, stream: str, filter: str, first: int = 1) -> AsyncIterator[tuple[int, str, Msg]]:
        """Yield the messages of the subjects that fit, from a sequence on: sequence, subject and message."""
        while (message := await self._direct(stream, {"seq": first, "next_by_subj": filter})) is not None:
            assert message.headers is not None, "a direct answer has headers"
            sequence = int(message.headers["Nats-Sequence"])
            yield sequence, message.headers["Nats-Subject"], message
            first = sequence + 1

    async def delete(self, stream: str, sequence: int) -> bool:
        """Delete one message, and tell whether it was there."""
        try:
            await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
        except ApiError:
            return False
        return True

    async def purge(self, stream: str, filter: str) -> int:
        """Delete the messages of the subjects that fit, and return how many there were."""
        purged: int = (await self.api(f"STREAM.PURGE.{stream}", {"filter": filter}))["purged"]
        return purged

    async def _direct(self, stream: str, body: dict[str, Any]) -> Msg | None:
        subject, data = f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body)
        message = await self._connection.ask(subject, data, timeout=self._settings.timeout)
        return None if message.headers and message.headers.get("Status") == "404" else message
