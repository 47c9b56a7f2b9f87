"""Writing: the driver's idempotent producer, given up and replaced when it cannot confirm in time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiokafka import AIOKafkaProducer, errors

from aats_broker_kafka.driver import BACKOFF
from aats_broker_kafka.settings import KafkaSettings
from aats_core.errors import BrokerError, BrokerUnavailable, MessageTooLarge

Headers = list[tuple[str, bytes]]


class Producer:
    """Sends records and waits until all replicas in sync have them.

    The driver never drops a record of an idempotent producer, but tries until it can be sent. What is not confirmed
    within the timeout must not arrive later, so the producer is given up then; who still waits goes on with the next.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def send(self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None) -> None:
        """Write one record; raises `BrokerUnavailable` where that is not confirmed within the timeout."""
        producer = self._producer
        try:
            async with asyncio.timeout(self._settings.timeout):
                while True:
                    producer = self._producer or await self._open()
                    if await self._sent(producer, topic, value, key, headers):
                        return
                    await self._give_up(producer)
                    await asyncio.sleep(BACKOFF)
        except TimeoutError as error:
            await self._give_up(producer)
            raise BrokerUnavailable(
                f"{topic}: Kafka did not confirm the message within {self._settings.timeout:g} s"
            ) from error

    async def close(self) -> None:
        """Send what is buffered, for as long as the timeout, and close."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    await producer.flush()
            except (TimeoutError, errors.KafkaError):
                pass
            await _end(producer)

    async def _sent(self, producer: Any, topic: str, value: bytes | None, key: bytes | None, headers: Headers | None) -> bool:
        """Send, and tell whether it is confirmed; a producer that was given up meanwhile has not."""
        try:
            confirmation = await producer.send(topic, value, key, headers=headers)
            await confirmation
        except errors.MessageSizeTooLargeError as error:
            raise MessageTooLarge(
                f"{topic}: the server takes no message of {len(value or b'')} bytes: {error}"
            ) from error
        except (errors.KafkaError, OSError) as error:
            if producer is not self._producer:
                return False
            if isinstance(error, errors.KafkaError) and not error.retriable and not isinstance(error, _BROKEN):
                raise BrokerError(f"{topic}: {type(error).__name__}: {error}") from error
            return False
        return True

    async def _open(self) -> Any:
        async with self._opening:
            while self._producer is None:
                if self._closed:
                    raise BrokerUnavailable("the broker is closed")
                producer = AIOKafkaProducer(
                    **self._settings.connection(),
                    client_id="aats",
                    enable_idempotence=True,
                    acks="all",
                    max_batch_size=256 * 1024,
                    max_request_size=self._settings.max_message_bytes + 4096,
                    request_timeout_ms=int(self._settings.timeout * 1000),
                )
                try:
                    await producer.start()
                    self._producer = producer
                except (errors.KafkaError, OSError):
                    await _end(producer)
                    await asyncio.sleep(BACKOFF)
                except BaseException:
                    await _end(producer)
                    raise
            return self._producer

    async def _give_up(self, producer: Any) -> None:
        if producer is not None and producer is self._producer:
            self._producer = None
            await _end(producer)


_BROKEN = (errors.OutOfOrderSequenceNumber, errors.ProducerFenced, errors.KafkaConnectionError, errors.KafkaTimeoutError)


class Abandoned(errors.KafkaError):
    """The producer was given up before this was confirmed."""


async def _end(producer: Any) -> None:
    """Close a producer without sending what it has left, which its own `stop` would wait for."""
    producer._closed = True  # noqa: SLF001 - the driver has no other way
    producer._message_accumulator.fail_all(Abandoned())  # noqa: SLF001
    # KeyError: a batch that was failed above comes back from an attempt that was under way
    with contextlib.suppress(TimeoutError, errors.KafkaError, KeyError):
        async with asyncio.timeout(0.2):
            await producer._sender.close()  # noqa: SLF001
    producer._message_accumulator.fail_all(Abandoned())  # noqa: SLF001 - what was under way has come back
    await producer.client.close()
